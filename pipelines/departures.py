"""How many flights will leave each airport in the next hour? Asked every hour, on the hour."""

from datetime import date, time

from mlprod_tasks import declaration as ml

AIRPORTS = ("EWR", "JFK", "LGA")
AIRPORT = {"origin": "origin"}
LOCAL = "timezone('America/New_York', as_of)"

planned_flights = ml.Table(
    "planned_flights",
    ml.Database("airport", "planned_flights"),
    key=("flight_id",),
    time="sched_dep_at",
    # The plan of an hour is used as known an hour before it begins: what is planned for the next hour became known in the last.
    ticks_ahead=2,
    max_rows=150,
    may_be_empty=True,
    doc="The plan: every flight that is to leave. At night there is none.",
    columns=(
        ml.Column("flight_id", "text", "date-carrier-number-origin"),
        ml.Column("sched_dep_at", "timestamp", "when it is to leave"),
        ml.Column("origin", "text", "airport of departure", values=AIRPORTS),
        ml.Column("dest", "text", "airport of arrival"),
        ml.Column("distance", "int", "miles", min=1, max=6000),
    ),
)
departures = ml.Table(
    "departures",
    ml.Database("airport", "departures"),
    key=("flight_id",),
    time="departed_at",
    max_rows=150,
    may_be_empty=True,
    doc="One row when a flight has left. Cancelled flights have none.",
    columns=(
        ml.Column("flight_id", "text", "the flight that left"),
        ml.Column("departed_at", "timestamp", "when it left"),
        ml.Column("origin", "text", "airport of departure", values=AIRPORTS),
        ml.Column("minutes_late", "int", "after the plan; negative when early", min=-120, max=2000),
    ),
)
weather = ml.Table(
    "weather",
    ml.Database("airport", "weather"),
    key=("origin", "observed_at"),
    time="observed_at",
    known_after=ml.hours(1),
    max_rows=3,
    max_refused_share=0.5,
    may_be_empty=True,
    doc="Hourly observations at the three airports; some are missing.",
    columns=(
        ml.Column("origin", "text", "airport", values=AIRPORTS),
        ml.Column("observed_at", "timestamp", "hour of the observation"),
        ml.Column("wind_speed", "float", "miles an hour", nullable=True, min=0, max=150),
        ml.Column("precip", "float", "inches in the hour", nullable=True, min=0, max=20),
        ml.Column("visib", "float", "miles of visibility", nullable=True, min=0, max=10),
    ),
)

pipeline = ml.Pipeline(
    name="departures",
    doc=__doc__,
    owner="ground handling",
    alert_to=("ground@example.com",),
    schedule=ml.Schedule(
        at=time(0), timezone="America/New_York", starts=date(2013, 1, 2), ends=date(2013, 12, 30), every="hour"
    ),
    tables=(planned_flights, departures, weather),
    entity=ml.Population(
        "airports", seen_in="departures", by=("origin",), within=ml.days(7), doc="airports that flights leave"
    ),
    task="regression",
    features=(
        ml.Expression("airport", "origin", "text", "the airport"),
        ml.Expression("local_hour", f"extract(hour FROM {LOCAL})", "int", "local hour that begins"),
        ml.Expression(
            "hour_of_week",
            f"24 * (extract(isodow FROM {LOCAL}) - 1) + extract(hour FROM {LOCAL})",
            "int",
            "local, from 0 at midnight of Sunday to Monday on",
        ),
        # Windows of the plan reach an hour further than now: one of an hour is the hour to come.
        ml.Trailing("planned", "planned_flights", AIRPORT, (ml.hours(1), ml.hours(2), ml.hours(4)), (ml.Count(),)),
        ml.Trailing(
            "departed",
            "departures",
            AIRPORT,
            (ml.hours(1), ml.hours(3)),
            (ml.Count(), ml.Mean("minutes_late"), ml.Rate("late_rate", "minutes_late > 30")),
        ),
        # The same hour a week ago.
        ml.Trailing("week_ago", "departures", AIRPORT, (ml.hours(1),), (ml.Count(),), skip=ml.days(7) - ml.hours(1)),
        ml.Expression(
            "backlog",
            "planned_count_4h - planned_count_1h - departed_count_3h",
            "int",
            "planned in the last three hours, more than left",
        ),
        ml.AsOf("weather", AIRPORT, {c: c for c in ("wind_speed", "precip", "visib")}, max_age=ml.hours(4)),
    ),
    label=ml.Outcome("departures", AIRPORT, ml.Count(), within=ml.hours(1), doc="flights that leave in the next hour"),
    split=ml.Split(validation=ml.days(28), test=ml.days(28), gap=ml.hours(1)),
    model=ml.Model(
        candidates=(
            ml.LightGBM(objective="poisson", num_leaves=15, min_data_in_leaf=50),
            ml.SeasonalMean(by=("airport", "hour_of_week")),
            ml.LastValue("departed_count_1h"),
        ),
        coverage=0.9,
        seed=7,
    ),
    fallback=ml.MeanTable(by=("airport", "local_hour")),
    value=ml.PredictionValue("-abs(prediction - outcome)", "flights"),
    gates=(
        ml.AtLeast("r2", 0.6),
        ml.BetterThanBaseline("mae", by=0.5),
        ml.NotWorseThanChampion("mae", tolerance=0.1),
        ml.AtLeast("interval_coverage", 0.85),
        ml.SamePredictions(),
    ),
    kpi=ml.Kpi(
        "error_share",
        "sum(abs(prediction - outcome)) / greatest(sum(outcome), 1)",
        "flights that predictions are off, per flight",
    ),
    # A tick has three rows, too few to judge errors or drift by: what is watched is that predictions are there and whole.
    watches=(
        ml.Watch("volume", low=0.9, high=1.1),
        ml.Watch("fallback_share", high=0.0),
        ml.Watch("label_coverage", low=1.0),
        ml.Watch("model_age", high=60.0),
    ),
    rules=(
        ml.Rule("airports are missing", "volume", "alert"),
        ml.Rule("the fallback answered", "fallback_share", "alert"),
        ml.Rule("outcomes are missing", "label_coverage", "alert"),
        ml.Rule("the model is old", "model_age", "retrain"),
    ),
    retraining=ml.Retraining(cooldown=ml.days(28)),
)
