"""What will a household spend in the next four weeks? Asked every Monday, for those that were seen in the last thirteen."""

from datetime import date, time

from mlprod_tasks import declaration as ml

HOUSEHOLD = {"household_id": "household_id"}

baskets = ml.Table(
    "baskets",
    ml.Database("grocery", "baskets"),
    key=("basket_id",),
    time="bought_at",
    max_rows=8000,
    may_be_empty=True,
    doc="One row for each time that a household paid.",
    columns=(
        ml.Column("basket_id", "int", "number of the receipt"),
        ml.Column("household_id", "int", "who paid"),
        ml.Column("bought_at", "timestamp", "when"),
        ml.Column("amount", "float", "what it cost, in dollars", min=0, max=5000),
        ml.Column("products", "int", "different products", min=1),
        ml.Column("discount", "float", "dollars taken off by the shop", min=0, max=5000),
        ml.Column("coupon_discount", "float", "dollars taken off by coupons", min=0, max=500),
    ),
)
households = ml.Table(
    "households",
    ml.Database("grocery", "households"),
    key=("household_id",),
    doc="What is known of some of the households.",
    columns=(
        ml.Column("household_id", "int", "the household"),
        ml.Column("income", "text", "in thousands of dollars a year"),
        ml.Column("household_size", "text", "how many they are, 5+ for more"),
    ),
)

pipeline = ml.Pipeline(
    name="household_spend",
    doc=__doc__,
    owner="planning",
    alert_to=("planning@example.com",),
    schedule=ml.Schedule(
        at=time(0), timezone="America/New_York", starts=date(2017, 1, 2), ends=date(2018, 1, 1), every="week", on="monday"
    ),
    tables=(baskets, households),
    entity=ml.Population("shoppers", seen_in="baskets", by=("household_id",), within=ml.days(91), doc="households seen lately"),
    task="regression",
    features=(
        ml.Lookup("households", HOUSEHOLD, {"income": "income", "household_size": "household_size"}),
        ml.Trailing(
            "bought",
            "baskets",
            HOUSEHOLD,
            (ml.days(7), ml.days(28), ml.days(91)),
            (ml.Count(), ml.Sum("amount"), ml.Mean("products"), ml.Max("amount"), ml.Mean("discount")),
        ),
        ml.Trailing("coupons", "baskets", HOUSEHOLD, (ml.days(91),), (ml.Rate("rate", "coupon_discount > 0"),)),
        ml.Trailing("before", "baskets", HOUSEHOLD, (ml.days(28),), (ml.Sum("amount"),), skip=ml.days(28)),
        ml.Trailing("visits", "baskets", HOUSEHOLD, (ml.days(91),), (ml.SinceLast(), ml.SinceFirst(), ml.MeanGap())),
        ml.Expression(
            "spend_trend", "bought_sum_amount_28d / nullif(bought_sum_amount_91d, 0)", "float", "1 if all of it was lately"
        ),
    ),
    label=ml.Outcome("baskets", HOUSEHOLD, ml.Sum("amount"), within=ml.days(28), doc="dollars spent in the next four weeks"),
    split=ml.Split(validation=ml.days(28), test=ml.days(28), gap=ml.days(28)),
    model=ml.Model(
        candidates=(
            ml.LightGBM(num_leaves=15, min_data_in_leaf=100, max_trees=400, feature_fraction=0.6, lambda_l2=10),
            ml.LightGBM(
                name="poisson",
                objective="poisson",
                num_leaves=15,
                min_data_in_leaf=100,
                max_trees=400,
                feature_fraction=0.6,
                lambda_l2=10,
            ),
            ml.LinearRegression(),
        ),
        coverage=0.9,
        choose_by="rmse",
        seed=7,
    ),
    fallback=ml.MeanTable(by=("income",)),
    value=ml.PredictionValue("-abs(prediction - outcome)", "USD"),
    gates=(
        ml.AtLeast("r2", 0.5),
        ml.AtMost("absolute_bias", 20.0),
        ml.BetterThanBaseline("mae", by=0.2),
        ml.NotWorseThanChampion("mae", tolerance=3.0),
        ml.AtLeast("interval_coverage", 0.85),
        ml.SamePredictions(),
    ),
    kpi=ml.Kpi(
        "error_share", "sum(abs(prediction - outcome)) / sum(outcome)", "dollars that predictions are off, per dollar spent"
    ),
    retraining=ml.Retraining(cooldown=ml.days(28)),
)
