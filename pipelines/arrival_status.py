"""Will a flight arrive on time, late, or not at all? Asked every morning for the flights of the coming day."""

from datetime import date, time

from mlprod_tasks import declaration as ml

AIRPORTS = ("EWR", "JFK", "LGA")
LOCAL = "timezone('America/New_York', sched_dep_at)"

planned_flights = ml.Table(
    "planned_flights",
    ml.Database("airport", "planned_flights"),
    key=("flight_id",),
    time="sched_dep_at",
    ticks_ahead=1,
    min_rows=300,
    max_rows=3000,
    doc="The plan: every flight that is to leave New York, known a day ahead.",
    columns=(
        ml.Column("flight_id", "text", "date-carrier-number-origin"),
        ml.Column("sched_dep_at", "timestamp", "when it is to leave"),
        ml.Column("sched_arr_at", "timestamp", "when it is to arrive"),
        ml.Column("carrier", "text", "airline, two-letter code"),
        ml.Column("tailnum", "text", "registration of the plane", nullable=True, max_null_share=0.35),
        ml.Column("origin", "text", "airport of departure", values=AIRPORTS),
        ml.Column("dest", "text", "airport of arrival"),
        ml.Column("distance", "int", "miles", min=1, max=6000),
    ),
)
ended_flights = ml.Table(
    "ended_flights",
    ml.Database("airport", "ended_flights"),
    key=("flight_id",),
    time="ended_at",
    min_rows=100,
    max_rows=3000,
    doc="How each flight ended: a cancelled one when it was to leave, a diverted one when it was to arrive.",
    columns=(
        ml.Column("flight_id", "text", "the flight"),
        ml.Column("ended_at", "timestamp", "when it was known"),
        ml.Column("ended", "text", "how it ended", values=("landed", "cancelled", "diverted")),
        ml.Column("carrier", "text", "airline, two-letter code"),
        ml.Column("tailnum", "text", "registration of the plane", nullable=True),
        ml.Column("origin", "text", "airport of departure", values=AIRPORTS),
        ml.Column("dest", "text", "airport of arrival"),
        ml.Column(
            "minutes_late",
            "int",
            "at arrival; negative when early; only of flights that landed",
            nullable=True,
            min=-180,
            max=2000,
        ),
    ),
)
weather = ml.Table(
    "weather",
    ml.Database("airport", "weather"),
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
        ml.Column("wind_speed", "float", "miles an hour", nullable=True, min=0, max=150),
        ml.Column("precip", "float", "inches in the hour", nullable=True, min=0, max=20),
        ml.Column("pressure", "float", "millibars at sea level", nullable=True, min=850, max=1100),
        ml.Column("visib", "float", "miles of visibility", nullable=True, min=0, max=10),
    ),
)

LATE, CANCELLED = ml.Rate("late_rate", "minutes_late > 15"), ml.Rate("cancelled_rate", "ended = 'cancelled'")


def recent(name: str, *columns: str) -> ml.Trailing:
    """How the flights that share `columns` ended in the last day, week and four weeks."""
    windows = (ml.days(1), ml.days(7), ml.days(28))
    return ml.Trailing(name, "ended_flights", {c: c for c in columns}, windows, (ml.Count(), LATE, CANCELLED))


pipeline = ml.Pipeline(
    name="arrival_status",
    doc=__doc__,
    owner="passenger care",
    alert_to=("passengers@example.com",),
    schedule=ml.Schedule(at=time(4), timezone="America/New_York", starts=date(2013, 1, 2), ends=date(2013, 12, 31)),
    tables=(planned_flights, ended_flights, weather),
    entity="planned_flights",
    task="multiclass",
    features=(
        ml.Expression("airline", "carrier", "text", "airline"),
        ml.Expression("airport", "origin", "text", "airport of departure"),
        ml.Expression("destination", "dest", "text", "airport of arrival"),
        ml.Expression("miles", "distance", "int", "miles"),
        ml.Expression("dep_hour", f"extract(hour FROM {LOCAL})", "int", "local hour of departure"),
        ml.Expression("weekday", f"extract(isodow FROM {LOCAL})", "int", "1 Monday to 7 Sunday"),
        ml.Expression(
            "block_minutes", "extract(epoch FROM sched_arr_at - sched_dep_at) / 60", "float", "scheduled gate to gate"
        ),
        ml.AsOf(
            "weather",
            {"origin": "origin"},
            {f"weather_{c}": c for c in ("temp", "wind_speed", "precip", "pressure", "visib")},
            max_age=ml.hours(6),
        ),
        recent("airline", "carrier"),
        recent("airport", "origin"),
        recent("destination", "dest"),
        recent("plane", "tailnum"),
    ),
    label=ml.Label(
        "ended_flights",
        {"flight_id": "flight_id"},
        # A diverted flight landed elsewhere: it has no outcome.
        "CASE WHEN ended = 'cancelled' THEN 'cancelled' WHEN minutes_late > 15 THEN 'late' "
        "WHEN ended = 'landed' THEN 'on time' END",
        delay=ml.days(2),
        doc="on time: at most 15 minutes late",
        kind="class",
        classes=("on time", "late", "cancelled"),
    ),
    split=ml.Split(validation=ml.days(21), test=ml.days(28), gap=ml.days(2)),
    model=ml.Model(
        candidates=(ml.LightGBM(num_leaves=15, min_data_in_leaf=300, feature_fraction=0.4, lambda_l2=10), ml.Constant()),
        # Lateness and cancellations come by the day, with the weather: three weeks are few days to calibrate on.
        calibration="none",
        seed=7,
    ),
    fallback=ml.ShareTable(by=("airline", "dep_hour")),
    # A passenger who was told of what came is worth more the worse it was; a false alarm costs.
    value=ml.ClassValue(
        right=0,
        wrong=-1,
        pairs={"on time": {"late": -4, "cancelled": -20}, "late": {"cancelled": -10}, "cancelled": {"on time": -8}},
        predict="worth",
        unit="points",
    ),
    gates=(
        ml.BetterThanBaseline("log_loss"),
        ml.BetterThanBaseline("value_per_1000"),
        ml.AtLeast("macro_auc", 0.6),
        ml.NotWorseThanChampion("log_loss", tolerance=0.01),
        ml.NoLeakageSuspicion(most=0.8),
        ml.SamePredictions(),
    ),
    kpi=ml.Kpi(
        "lost_per_1000_flights", "-1000 * avg(value)", "points lost per 1,000 flights by what passengers were told", "points"
    ),
    retraining=ml.Retraining(cooldown=ml.days(28)),
)
