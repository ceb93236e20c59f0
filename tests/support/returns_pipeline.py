"""The small shop as a use case that declares all that the train DAG can do: search by two workers, segments, an approval."""

from dataclasses import replace
from pathlib import Path

from mlprod_tasks import declaration as ml
from tests.support.shop import ORDERS, RETURNS, SHOP, with_columns, without

NUMBER = ml.Column("order_id", "int", "the order")
APPROVAL = "ml.Approval(wait=ml.hours(1))"

pipeline = replace(
    SHOP,
    schedule=replace(SHOP.schedule, timezone="UTC"),
    tables=(with_columns(without(ORDERS, "items"), NUMBER), with_columns(RETURNS, NUMBER)),
    features=SHOP.features[:2],
    label=replace(SHOP.label, delay=ml.days(1)),
    split=ml.Split(validation=ml.days(4), test=ml.days(4), gap=ml.days(1)),
    model=ml.Model(
        candidates=(ml.LightGBM(learning_rate=0.2, num_leaves=7, max_trees=10, min_data_in_leaf=20),),
        segment_by="channel",
        least_segment_rows=500,
        search=ml.Search(trials=2, workers=2, space={"num_leaves": ml.OneOf((7, 15))}),
        threads=1,
    ),
    gates=(ml.AtLeast("roc_auc", 0.6),),
    approval=ml.Approval(wait=ml.hours(1)),
)


def write(folder: Path, **changed: str) -> Path:
    """Write returns.py: this use case as a file of its own, with other arguments as they are written in Python."""
    given = "".join(f"    {name}={value},\n" for name, value in {"approval": APPROVAL, **changed}.items())
    file = folder / "returns.py"
    file.write_text(
        f'''"""Will an order come back?"""

from dataclasses import replace
from datetime import date

from mlprod_tasks import declaration as ml
from tests.support.returns_pipeline import pipeline as shop

pipeline = replace(
    shop,
{given})
'''
    )
    return file
