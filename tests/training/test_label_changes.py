"""Outcomes that are corrected after a training, counted from lake versions against pandas."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mlprod_tasks import steps, workflows
from mlprod_tasks.features import key_ranges
from mlprod_tasks.platform import Platform
from mlprod_tasks.training.label_changes import LabelChanges, label_changes
from mlprod_tasks.training.records import Assembled, facts_of
from mlprod_tasks.training.workspace import TrainingFolder
from tests.support.timeless_customers import BY_PART, DAY, FIRST, KNOWN, customers, deliver, new_platform

CHURN = replace(BY_PART, tables=BY_PART.tables[:1], features=BY_PART.features[:2])


def test_what_has_changed_since_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform, rows = new_platform(tmp_path), customers()
    assembled = []
    corrected = rows.copy()
    corrected.loc[corrected.index < 7, "churned"] = ~corrected.loc[corrected.index < 7, "churned"]
    for day, known, delivered in ((FIRST, KNOWN, rows), (FIRST + DAY, KNOWN + 200, corrected)):
        deliver(delivered, tmp_path, known)
        workflows.ingest(CHURN, CHURN.schedule.range(day), platform)
        steps.assemble(CHURN, CHURN.schedule.tick(day), str(day), "for the test", platform)
        assembled.append(TrainingFolder(platform, str(day)).read(Assembled))
    facts = [facts_of(one, "t", CHURN.digest) for one in assembled]
    truth = pd.DataFrame({"before": rows["churned"].where(rows.index < KNOWN), "now": corrected["churned"]})
    truth["now"] = truth["now"].where(truth.index < KNOWN + 200)
    both = truth.dropna()
    expected = LabelChanges(
        known=int(truth["before"].notna().sum()), changed=int((both["before"] != both["now"]).sum()), gone=0,
        added=int((truth["before"].isna() & truth["now"].notna()).sum()),
    )  # fmt: skip
    assert expected == LabelChanges(KNOWN, 7, 0, 200)
    assert label_changes(CHURN, facts[0], assembled[1], platform) == expected
    assert label_changes(CHURN, facts[1], assembled[1], platform) == LabelChanges(KNOWN + 200, 0, 0, 0)
    cut = Platform(replace(platform.settings, score_rows=1_000))  # of 1,500 rows
    monkeypatch.setattr(key_ranges, "PIECE_ROWS", 200)
    assert label_changes(CHURN, facts[0], assembled[1], cut) == expected
    # A replay of the first training still has the outcomes of then.
    assert label_changes(CHURN, facts[0], assembled[0], platform) == LabelChanges(KNOWN, 0, 0, 0)


def test_a_version_that_is_gone_is_no_error(tmp_path: Path) -> None:
    platform = new_platform(tmp_path)
    deliver(customers(), tmp_path)
    workflows.ingest(CHURN, CHURN.schedule.range(FIRST), platform)
    steps.assemble(CHURN, CHURN.schedule.tick(FIRST), "t", "for the test", platform)
    now = TrainingFolder(platform, "t").read(Assembled)
    gone = replace(facts_of(now, "t", CHURN.digest), versions={"customers": 999})
    assert "999" in str(label_changes(CHURN, gone, now, platform))
