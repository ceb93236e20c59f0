"""Will a flight arrive more than 15 minutes late? Asked every morning for the flights of the coming day."""

from datetime import date, time

from mlprod_tasks import declaration as ml

AIRPORTS = ("EWR", "JFK", "LGA")

flights = ml.Table(
    "flights",
    ml.Database("business", "flights"),
    key=("flight_id",),
    time="sched_dep_at",
    ticks_ahead=1,
    min_rows=300,
    max_rows=3000,
    doc="The schedule: every flight that is to leave New York, known a day ahead.",
    columns=(
        ml.Column("flight_id", "text", "date-carrier-number-origin"),
        ml.Column("sched_dep_at", "timestamp", "scheduled departure"),
        ml.Column("sched_arr_at", "timestamp", "scheduled arrival"),
        ml.Column("carrier", "text", "airline, two-letter code"),
        ml.Column("flight_number", "int", "flight number", min=1, max=9999),
        ml.Column(
            "tailnum", "text", "registration of the plane; missing until one is assigned", nullable=True, max_null_share=0.35
        ),
        ml.Column("origin", "text", "airport of departure", values=AIRPORTS),
        ml.Column("dest", "text", "airport of arrival"),
        ml.Column("distance", "int", "miles", min=1, max=6000),
    ),
)
arrivals = ml.Table(
    "arrivals",
    ml.Database("business", "arrivals"),
    key=("flight_id",),
    time="landed_at",
    min_rows=100,
    max_rows=3000,
    doc="Outcomes: one row when a flight has landed. Cancelled and diverted flights have none.",
    columns=(
        ml.Column("flight_id", "text", "the flight that landed"),
        ml.Column("landed_at", "timestamp", "when it landed"),
        ml.Column("carrier", "text", "airline, two-letter code"),
        ml.Column("tailnum", "text", "registration of the plane", nullable=True),
        ml.Column("origin", "text", "airport of departure", values=AIRPORTS),
        ml.Column("dest", "text", "airport of arrival"),
        ml.Column("dep_delay", "int", "minutes late at departure; negative when early", min=-120, max=2000),
        ml.Column("arr_delay", "int", "minutes late at arrival; negative when early", min=-180, max=2000),
    ),
)
weather = ml.Table(
    "weather",
    ml.Database("business", "weather"),
    key=("origin", "observed_at"),
    time="observed_at",
    known_after=ml.hours(1),
    min_rows=36,
    max_rows=75,
    max_refused_share=0.05,
    doc="Hourly observations at the three airports.",
    columns=(
        ml.Column("origin", "text", "airport", values=AIRPORTS),
        ml.Column("observed_at", "timestamp", "hour of the observation"),
        ml.Column("temp", "float", "degrees Fahrenheit", nullable=True, min=-40, max=130),
        ml.Column("humid", "float", "relative humidity, per cent", nullable=True, min=0, max=100),
        ml.Column("wind_speed", "float", "miles an hour", nullable=True, min=0, max=150),
        ml.Column("precip", "float", "inches in the hour", nullable=True, min=0, max=20),
        ml.Column("pressure", "float", "millibars at sea level", nullable=True, min=850, max=1100),
        ml.Column("visib", "float", "miles of visibility", nullable=True, min=0, max=10),
    ),
)
planes = ml.Table(
    "planes",
    ml.Database("business", "planes"),
    key=("tailnum",),
    min_rows=1000,
    doc="The register of planes.",
    columns=(
        ml.Column("tailnum", "text", "registration"),
        ml.Column("built", "int", "year of manufacture", nullable=True, min=1930, max=2014),
        ml.Column("seats", "int", "number of seats", min=1, max=900),
        ml.Column("engines", "int", "number of engines", min=1, max=8),
    ),
)

LATE = ml.Rate("late_rate", "arr_delay > 15")
LOCAL = "timezone('America/New_York', sched_dep_at)"


def recent(name: str, *columns: str) -> ml.Trailing:
    """How punctual the flights that share `columns` were in the last one and four weeks."""
    return ml.Trailing(
        name, "arrivals", {c: c for c in columns}, (ml.days(7), ml.days(28)), (ml.Count(), ml.Mean("arr_delay"), LATE)
    )


pipeline = ml.Pipeline(
    name="flight_delays",
    doc=__doc__,
    owner="network operations",
    alert_to=("flight-ops@example.com",),
    schedule=ml.Schedule(at=time(4), timezone="America/New_York", starts=date(2013, 1, 2), ends=date(2013, 12, 31)),
    tables=(flights, arrivals, weather, planes),
    entity="flights",
    predict_at=ml.AtTick(),
    features=(
        ml.Expression("carrier", "carrier", "text", "airline"),
        ml.Expression("origin", "origin", "text", "airport of departure"),
        ml.Expression("dest", "dest", "text", "airport of arrival"),
        ml.Expression("distance", "distance", "int", "miles"),
        ml.Expression("dep_hour", f"extract(hour FROM {LOCAL})", "int", "local hour of departure"),
        ml.Expression(
            "dep_minute", f"60 * extract(hour FROM {LOCAL}) + extract(minute FROM {LOCAL})", "int", "of the local day"
        ),
        ml.Expression("weekday", f"extract(isodow FROM {LOCAL})", "int", "1 Monday to 7 Sunday"),
        ml.Expression(
            "block_minutes", "extract(epoch FROM sched_arr_at - sched_dep_at) / 60", "float", "scheduled gate to gate"
        ),
        ml.Lookup("planes", {"tailnum": "tailnum"}, {"plane_built": "built", "plane_seats": "seats"}),
        ml.AsOf(
            "weather",
            {"origin": "origin"},
            {f"weather_{c}": c for c in ("temp", "humid", "wind_speed", "precip", "pressure", "visib")},
            max_age=ml.hours(6),
        ),
        recent("carrier", "carrier"),
        recent("origin", "origin"),
        recent("dest", "dest"),
        recent("route", "origin", "dest"),
        recent("plane", "tailnum"),
    ),
    label=ml.Label("arrivals", {"flight_id": "flight_id"}, LATE.sql, delay=ml.days(2), doc="arrived more than 15 minutes late"),
    split=ml.Split(validation=ml.days(21), test=ml.days(28), gap=ml.days(2)),
    model=ml.Model(
        # Of those that searches found on January to June, the best in backtests there.
        candidates=(ml.LightGBM(learning_rate=0.03, num_leaves=48, min_data_in_leaf=350, feature_fraction=0.45, lambda_l2=8),),
        categorical=("carrier", "origin", "dest"),
        calibration="sigmoid",
        seed=7,
    ),
    fallback=ml.RateTable(by=("carrier", "dep_hour")),
    value=ml.CostMatrix(true_positive=120, false_positive=-40),
    backtest=ml.Backtest(windows=3),
    slices=("carrier", "origin"),
    gates=(
        ml.AtLeast("roc_auc", 0.65),
        ml.AtMost("calibration_error", 0.10),
        ml.BetterThanBaseline("log_loss", by=0.02),
        ml.BetterThanBaseline("value_per_1000"),
        ml.NotWorseThanChampion("roc_auc", tolerance=0.01),
        ml.WorstSlice("roc_auc", 0.5, least_rows=1000),
        ml.Stable("log_loss", than="baseline", windows=2),
        ml.AvailableAtPrediction(most_nulls=0.9),  # the weather service leaves out whole mornings
        ml.NoLeakageSuspicion(most=0.8),
        ml.SamePredictions(),
        ml.Latency(100),
        ml.ModelSize(20),
        ml.Monotonic(
            "a plane that came later in the last week must not look more punctual",
            "plane_mean_arr_delay_7d",
            "up",
            by=30,
            most_share=0.25,
        ),
    ),
    kpi=ml.Kpi("value_per_1000_flights", "1000 * avg(value)", "dollars saved per 1,000 flights by acting on the score", "USD"),
    watches=(
        ml.Watch("feature_psi", high=0.25, only_important=True, learned=ml.Learned()),
        ml.Watch("feature_level", low=-0.75, high=0.75, only_important=True, learned=ml.Learned()),
        ml.Watch("score_psi", high=0.25, learned=ml.Learned()),
        ml.Watch("null_share", high=0.10, learned=ml.Learned()),
        ml.Watch("volume", low=0.5, high=1.5),
        ml.Watch("type_changes", high=0.0),
        ml.Watch("new_categories", high=0.02, learned=ml.Learned()),
        ml.Watch("known_fault", high=0.0),
        ml.Watch("fallback_share", high=0.0),
        ml.Watch("label_coverage", low=0.5),
        ml.Watch("label_rate", low=0.5, high=2.0),
        ml.Watch("roc_auc_change", low=0.0),
        ml.Watch("calibration", low=-0.05, high=0.05),
        ml.Watch("kpi", low=0.0),  # below it, acting on the score costs more than it saves
        *ml.REQUEST_WATCHES,
    ),
    # One day is one day's weather: what varies that much from day to day is judged by the mean of several.
    rules=(
        ml.Rule("inputs moved", "feature_psi", "alert", breaches=2, of=3),
        ml.Rule("levels moved", "feature_level", "alert", breaches=2, of=3),
        ml.Rule("scores moved", "score_psi", "alert", breaches=2, of=3),
        ml.Rule("nulls", "null_share", "alert"),
        ml.Rule("volume", "volume", "alert"),
        ml.Rule("types changed", "type_changes", "alert"),
        ml.Rule("unknown categories", "new_categories", "alert"),
        ml.Rule("a fault in a source", "known_fault", "alert"),
        ml.Rule("the fallback answered", "fallback_share", "alert"),
        ml.Rule("outcomes are missing", "label_coverage", "alert"),
        ml.Rule("late share moved", "label_rate", "alert", breaches=3, of=5),
        ml.Rule("scores no longer fit outcomes", "calibration", "retrain", mean_of=5),
        ml.Rule("acting no longer pays", "kpi", "retrain", mean_of=7),
        ml.Rule("ranking is poor", "roc_auc_change", "retrain", mean_of=7),
        *ml.REQUEST_RULES,
    ),
    retraining=ml.Retraining(cooldown=ml.days(28)),
    serving=ml.Serving(stale_after=ml.hours(30), stale="fallback", missing="fallback"),
    experiments=ml.Experiments(
        metrics=(
            ml.UnitMetric("saved", "value", "dollars saved a flight by acting on the score", unit="USD"),
            ml.UnitMetric("acted", "decision", "flights that were acted on", of="proportion", better="lower"),
        )
    ),
    publish=ml.Publish("business", "flight_delay_predictions"),
)
