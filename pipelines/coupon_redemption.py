"""Which households redeem a coupon of a campaign within its first six weeks? Asked when the campaign starts."""

from datetime import date, time

from mlprod_tasks import declaration as ml

HOUSEHOLD = {"household_id": "household_id"}
PAIR = {"household_id": "household_id", "campaign_id": "campaign_id"}

campaigns = ml.Table(
    "campaigns",
    ml.Database("grocery", "campaigns"),
    key=("household_id", "campaign_id"),
    time="starts_at",
    ticks_ahead=1,
    may_be_empty=True,
    doc="Which household is sent which campaign, known a day ahead. On most days none starts.",
    columns=(
        ml.Column("household_id", "int", "the household"),
        ml.Column("campaign_id", "int", "the campaign", min=1),
        ml.Column("starts_at", "timestamp", "midnight of its first day"),
        ml.Column("end_date", "date", "its last day"),
        ml.Column(
            "campaign_type", "text", "A for all kinds of products, B and C for few", values=("Type A", "Type B", "Type C")
        ),
        ml.Column("coupons", "int", "its different coupons", min=1),
        ml.Column("products", "int", "products that its coupons are for", min=1),
    ),
)
redemptions = ml.Table(
    "redemptions",
    ml.Database("grocery", "redemptions"),
    key=("household_id", "coupon_upc", "campaign_id", "redeemed_on"),
    time="redeemed_on",
    known_after=ml.days(1),  # a day's redemptions are there when it is over
    may_be_empty=True,
    doc="One row for each coupon that was redeemed.",
    columns=(
        ml.Column("household_id", "int", "who redeemed it"),
        ml.Column("coupon_upc", "int", "the coupon"),
        ml.Column("campaign_id", "int", "the campaign that it belongs to"),
        ml.Column("redeemed_on", "timestamp", "midnight of the day on which it was redeemed"),
    ),
)
baskets = ml.Table(
    "baskets",
    ml.Database("grocery", "baskets"),
    key=("basket_id",),
    time="bought_at",
    max_rows=1500,
    may_be_empty=True,
    doc="One row for each time that a household paid.",
    columns=(
        ml.Column("basket_id", "int", "number of the receipt"),
        ml.Column("household_id", "int", "who paid"),
        ml.Column("bought_at", "timestamp", "when"),
        ml.Column("amount", "float", "what it cost, in dollars", min=0, max=5000),
        ml.Column("products", "int", "different products", min=1),
        ml.Column("coupon_discount", "float", "dollars taken off by coupons", min=0, max=500),
    ),
)
campaign_purchases = ml.Table(
    "campaign_purchases",
    ml.Database("grocery", "campaign_purchases"),
    key=("basket_id", "campaign_id"),
    time="bought_at",
    may_be_empty=True,
    doc="What a household paid in a basket for products that the coupons of a campaign are for, also before it started.",
    columns=(
        ml.Column("basket_id", "int", "number of the receipt"),
        ml.Column("campaign_id", "int", "the campaign"),
        ml.Column("household_id", "int", "who paid"),
        ml.Column("bought_at", "timestamp", "when"),
        ml.Column("amount", "float", "what these products cost, in dollars", min=0, max=5000),
    ),
)
households = ml.Table(
    "households",
    ml.Database("grocery", "households"),
    key=("household_id",),
    doc="What is known of some of the households.",
    columns=(
        ml.Column("household_id", "int", "the household"),
        ml.Column("age", "text", "of its head, in years"),
        ml.Column("income", "text", "in thousands of dollars a year"),
        ml.Column("household_size", "text", "how many they are, 5+ for more"),
        ml.Column("kids_count", "text", "how many children, 3+ for more"),
    ),
)

pipeline = ml.Pipeline(
    name="coupon_redemption",
    doc=__doc__,
    owner="marketing",
    alert_to=("marketing@example.com",),
    schedule=ml.Schedule(at=time(0), timezone="America/New_York", starts=date(2017, 1, 2), ends=date(2018, 1, 1)),
    tables=(campaigns, redemptions, baskets, campaign_purchases, households),
    entity="campaigns",
    features=(
        ml.Expression("campaign_type", "campaign_type", "text", "kind of campaign"),
        ml.Expression("coupons", "coupons", "int", "different coupons of the campaign"),
        ml.Expression("products", "products", "int", "products that its coupons are for"),
        ml.Expression("lasts_days", "end_date - CAST(starts_at AS DATE)", "int", "how long the campaign lasts"),
        ml.Lookup(
            "households",
            HOUSEHOLD,
            {name: name for name in ("age", "income", "household_size", "kids_count")},
        ),
        ml.Trailing(
            "shopping",
            "baskets",
            HOUSEHOLD,
            (ml.days(28), ml.days(91)),
            (
                ml.Count(),
                ml.Sum("amount"),
                ml.Mean("amount"),
                ml.Mean("products"),
                ml.Rate("coupon_rate", "coupon_discount > 0"),
            ),
        ),
        ml.Trailing("shopping", "baskets", HOUSEHOLD, (ml.EVER,), (ml.SinceLast(),)),
        ml.Trailing("redeemed", "redemptions", HOUSEHOLD, (ml.EVER,), (ml.Count(), ml.CountDistinct("campaign_id"))),
        ml.Trailing("sent", "campaigns", HOUSEHOLD, (ml.EVER,), (ml.Count(),)),
        ml.Trailing("wanted", "campaign_purchases", PAIR, (ml.days(28), ml.days(91)), (ml.Count(), ml.Sum("amount"))),
        ml.Expression(
            "redeemed_share", "redeemed_distinct_campaign_id_ever / nullif(sent_count_ever, 0)", "float", "of earlier campaigns"
        ),
    ),
    label=ml.Outcome(
        "redemptions", PAIR, ml.Any(), within=ml.days(42), until="end_date", doc="redeems a coupon of the campaign"
    ),
    split=ml.Split(validation=ml.days(40), test=ml.days(21), gap=ml.days(43)),
    model=ml.Model(
        candidates=(
            ml.LightGBM(max_trees=300, min_data_in_leaf=40, num_leaves=8, feature_fraction=0.5, lambda_l2=10),
            ml.LogisticRegression(),
        ),
        calibration="sigmoid",
        seed=7,
    ),
    fallback=ml.RateTable(by=("campaign_type",)),
    # Writing to a household by hand costs a dollar; one that would redeem brings eight.
    value=ml.CostMatrix(true_positive=7, false_positive=-1),
    gates=(
        ml.AtLeast("roc_auc", 0.65),
        ml.BetterThanBaseline("log_loss"),
        ml.BetterThanBaseline("value_per_1000"),
        ml.NotWorseThanChampion("roc_auc", tolerance=0.02),
        ml.NoLeakageSuspicion(most=0.9),
        ml.SamePredictions(),
    ),
    kpi=ml.Kpi("value_per_1000_offers", "1000 * avg(value)", "dollars earned per 1,000 offers by acting on the score", "USD"),
    # Each campaign goes to other households than the last one, so inputs differ by design; what must hold is what came true.
    watches=(
        ml.Watch("null_share", high=0.5, learned=ml.Learned()),
        ml.Watch("fallback_share", high=0.0),
        ml.Watch("label_coverage", low=1.0),
        ml.Watch("roc_auc", low=0.6),
        ml.Watch("calibration", low=-0.1, high=0.1),
        ml.Watch("kpi", low=0.0),  # below it, writing costs more than it brings
    ),
    rules=(
        ml.Rule("nulls", "null_share", "alert"),
        ml.Rule("the fallback answered", "fallback_share", "alert"),
        ml.Rule("outcomes are missing", "label_coverage", "alert"),
        ml.Rule("scores no longer fit outcomes", "calibration", "retrain", breaches=2, of=3),
        ml.Rule("writing no longer pays", "kpi", "retrain", breaches=2, of=3),
        ml.Rule("ranking is poor", "roc_auc", "retrain", breaches=2, of=3),
    ),
    retraining=ml.Retraining(cooldown=ml.days(28)),
    # A household gets the same variant in every campaign. What it spent before the first one is no effect of it.
    experiments=ml.Experiments(
        unit=("household_id",),
        metrics=(
            ml.UnitMetric("earned", "value", "dollars that writing to a household earns", unit="USD"),
            ml.UnitMetric("redeemed", "outcome", "households that redeem a coupon", of="proportion"),
            ml.UnitMetric(
                "spent",
                "later",
                "dollars that a household spends in the four weeks after a campaign starts",
                unit="USD",
                later=ml.Outcome("baskets", HOUSEHOLD, ml.Sum("amount"), within=ml.days(28)),
            ),
        ),
        guardrails=(ml.Guardrail("spent", loss=20),),
        covariates=("shopping_sum_amount_28d",),
    ),
)
