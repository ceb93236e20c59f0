"""Lines of a log have no key: each gets one that is the same in whatever order files come, and exact duplicates are counted."""

import hashlib
import random
from collections import Counter
from dataclasses import replace
from datetime import date, time
from pathlib import Path

import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks import features, workflows
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Audit

DAYS = [date(2024, 5, day) for day in range(1, 5)]
COLUMNS = (
    ml.Column("at", "timestamp", "when"), ml.Column("page", "text", "what", nullable=True), ml.Column("ms", "float"),
)  # fmt: skip
LOG = ml.Table("log", ml.Files("site", "log*.csv", "csv"), (), COLUMNS, time="at", min_rows=0, may_be_empty=True)
PAGES = ml.Pipeline(
    name="pages", alert_to=("site@example.com",),
    schedule=ml.Schedule(at=time(0), timezone="UTC", starts=DAYS[0]), tables=(LOG,),
    entity=ml.Population("pages", seen_in="log", by=("page",)),
    features=(
        ml.Trailing("seen", "log", {"page": "page"}, (ml.days(7),), (ml.Count(), ml.Sum("ms"))),
        ml.Expression("month", "extract(month FROM as_of)", "int", ""),
    ),
    label=ml.Outcome("log", {"page": "page"}, ml.Any(), within=ml.days(1)),
    split=ml.Split(ml.days(7), ml.days(7), ml.days(1)),
)  # fmt: skip


def lines() -> list[str]:
    """Requests of four days; some came twice or three times in the same second."""
    chance = random.Random(1)
    made = [
        f"{chance.choice(DAYS)} 10:00:0{chance.randrange(4)},{chance.choice(['a', 'b', ''])},{n % 3}.50" for n in range(200)
    ]
    return [*made, *made[:5], made[0], "2024-05-01 10:00:00,100,1.5", "2024-05-01 10:00:00,100,1.50"]


def written(folder: Path, parts: list[list[str]]) -> None:
    for old in folder.glob("log*.csv"):
        old.unlink()
    for i, part in enumerate(parts):
        (folder / f"log{i}.csv").write_text("at,page,ms\n" + "".join(f"{line}\n" for line in part))


def ingested(platform: Platform) -> list[dict[str, object]]:
    workflows.ingest(PAGES, PAGES.schedule.range("2024-05-01", "2024-05-06"), platform)
    return platform.lake.rows(names.raw(PAGES, "log")).sort_by("row_key").to_pylist()


def value(line: str) -> tuple[str, str, float]:
    at, page, ms = line.split(",")
    return at, page, float(ms)


def test_every_line_is_kept_and_repeated_ones_are_counted(make_platform, tmp_path: Path) -> None:
    platform = make_platform(site=str(tmp_path))
    written(tmp_path, [lines()])
    rows = ingested(platform)
    assert len(rows) == len(lines())
    assert len({row["row_key"] for row in rows}) == len(rows)
    expected = Counter(value(line) for line in lines())
    assert Counter((f"{row['at']:%Y-%m-%d %H:%M:%S}", row["page"] or "", row["ms"]) for row in rows) == expected
    by_day = Counter(at[:10] for at, *_ in expected.elements())
    different = Counter(at[:10] for at, *_ in expected)
    repeated = {one.tick: one.rows_repeated for one in platform.ledger.all(Audit, pipeline="pages")}
    assert {str(day): repeated[PAGES.schedule.shift(day, 1)] for day in DAYS} == {
        str(day): by_day[str(day)] - different[str(day)] for day in DAYS
    }
    assert sum(repeated.values()) >= 7


def test_the_key_is_the_hash_of_the_values_and_a_number(make_platform, tmp_path: Path) -> None:
    platform = make_platform(site=str(tmp_path))
    written(tmp_path, [["2024-05-01 10:00:00,home,1.5"] * 3])
    digest = hashlib.md5(b"2024-05-01 10:00:00.000000Z\x1fhome\x1f1.5").hexdigest()
    assert [row["row_key"] for row in ingested(platform)] == [f"{digest}-{n}" for n in (1, 2, 3)]


def test_the_order_of_lines_and_files_changes_nothing(make_platform, tmp_path: Path) -> None:
    platform = make_platform(site=str(tmp_path))
    written(tmp_path, [lines()])
    before = ingested(platform)
    mixed = lines()
    random.Random(2).shuffle(mixed)
    written(tmp_path, [mixed[150:], mixed[:60], mixed[60:150]])
    again = ingested(platform)
    assert again == before
    assert sum(row["_usable_from"] is not None for row in again) == 0, "nothing is late"


def test_repeated_lines_count_in_features(make_platform, tmp_path: Path) -> None:
    platform = make_platform(site=str(tmp_path))
    written(tmp_path, [["2024-05-01 10:00:00,home,1.5"] * 3 + ["2024-05-01 10:00:01,home,2"]])
    ingested(platform)
    (row,) = features.build(PAGES, PAGES.schedule.range("2024-05-03"), platform).table.to_pylist()
    assert (row["page"], row["seen_count_7d"], row["seen_sum_ms_7d"]) == ("home", 4, 6.5)


def test_rows_that_are_scored_or_change_need_a_key() -> None:
    with pytest.raises(ValidationError, match="table 'log': key names no column"):
        replace(PAGES, entity="log", label=ml.Label(sql="ms > 1", delay=ml.days(1)), tables=(LOG,), features=())
    late = (*COLUMNS, ml.Column("status", "int", nullable=True, known_at="done"), ml.Column("done", "timestamp", nullable=True))
    with pytest.raises(ValidationError, match="status is filled in later, but without a key"):
        replace(PAGES, tables=(replace(LOG, columns=late),))
