"""Parcels in a CSV file, of which some take more than 48 hours: a use case as small as people first declare one."""

import csv
import random
from datetime import datetime, timedelta
from pathlib import Path

DECLARATION = '''"""Will a parcel take more than 48 hours?"""

from datetime import date, time

from mlprod_tasks import declaration as ml

parcels = ml.Table(
    "parcels", ml.Files("parcels", "parcels.csv", "csv"), ("parcel_id",), time="sent_at", refresh_ticks=7,
    columns=(
        ml.Column("parcel_id", "text"), ml.Column("sent_at", "timestamp"),
        ml.Column("carrier", "text", values=("swift", "steady", "budget")), ml.Column("weight_kg", "float"),
        ml.Column("delivered_at", "timestamp", nullable=True),
        ml.Column("hours", "int", nullable=True, known_at="delivered_at"),
    ),
)
pipeline = ml.Pipeline(
    name="late_parcels", alert_to=("logistics@example.com",), tables=(parcels,), entity="parcels",
    schedule=ml.Schedule(at=time(4), timezone="UTC", starts=date(2024, 1, 2)),
    label=ml.Label("parcels", {"parcel_id": "parcel_id"}, "hours > 48", delay=ml.days(5)),
    model=ml.Model(candidates=(ml.LogisticRegression(),)), gates=(%s),
)
'''
GATE = 'ml.AtLeast("roc_auc", 0.55),'


def write_parcels(
    folder: Path,
    days: int = 90,
    gates: str = GATE,
    carriers_of_day: dict[int, str] | None = None,
    without: tuple[int, ...] = (),
) -> None:
    """Write data/parcels.csv and pipelines/late_parcels.py.

    carriers_of_day: the carrier of all parcels of a day. without: days on which nothing is sent.
    """
    chance = random.Random(1)
    late_share = {"swift": 0.05, "steady": 0.3, "budget": 0.7}
    (folder / "data").mkdir(parents=True)
    (folder / "pipelines").mkdir()
    with (folder / "data" / "parcels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["parcel_id", "sent_at", "carrier", "weight_kg", "delivered_at", "hours"])
        for number in range(days * 20):
            day = number // 20
            sent = datetime(2024, 1, 1) + timedelta(days=day, minutes=chance.randrange(480, 1200))  # noqa: DTZ001
            carrier = chance.choice(list(late_share))
            hours = chance.randrange(50, 96) if chance.random() < late_share[carrier] else chance.randrange(12, 48)
            carrier = (carriers_of_day or {}).get(day, carrier)
            weight = round(chance.lognormvariate(0.5, 0.8), 2)
            if day not in without:
                rows.writerow([f"P{number:05}", sent, carrier, weight, sent + timedelta(hours=hours), hours])
    (folder / "pipelines" / "late_parcels.py").write_text(DECLARATION % gates, encoding="utf-8")
