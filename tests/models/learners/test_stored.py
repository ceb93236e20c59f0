"""A stored model cannot bring types along that none of ours is made of."""

import io
import json
import zipfile

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from mlprod_tasks.models import learners
from mlprod_tasks.models.learners import stored
from mlprod_tasks.models.learners.stored import ForbiddenType
from tests.support import learner_frames as frames

CONSTRUCTED: list[str] = []


class Trap:
    """Says when it is constructed."""

    def __setstate__(self, state: dict) -> None:
        CONSTRUCTED.append("trap")

    def __getstate__(self) -> dict:
        return {"armed": True}


@pytest.mark.parametrize("name", ["random_forest", "hist_gradient_boosting"])
@pytest.mark.parametrize("foreign", [Trap(), np.sin, LogisticRegression()], ids=["class", "function", "estimator"])
def test_a_file_with_another_type_is_refused_before_anything_of_it_is_constructed(name, foreign, tmp_path):
    rows = frames.rows(300)
    frames.fitted(name, rows, rows).save(tmp_path)
    file = next(tmp_path.glob("*.skops"))
    kept = skops.io.get_untrusted_types(file=file)
    assert len(kept) == 1  # the trees' own
    trees = stored.load(file.read_bytes(), kept, "trees")
    file.write_bytes(skops.io.dumps([Trap(), trees] if isinstance(foreign, Trap) else [foreign, trees]))
    CONSTRUCTED.clear()
    with pytest.raises(ForbiddenType, match=r"has .*, which no model of mlprod has.* Nothing was loaded"):
        learners.load(tmp_path, None)
    assert CONSTRUCTED == []


def test_the_trap_does_go_off_where_it_is_trusted():
    content = skops.io.dumps(Trap())
    CONSTRUCTED.clear()
    skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))
    assert CONSTRUCTED == ["trap"]


def test_a_type_named_only_deep_inside_is_found():
    content = skops.io.dumps({"trees": [{"a": [1.0, {"b": Trap()}]}]})
    with pytest.raises(ForbiddenType, match="Trap"):
        stored.load(content, (), "a file")


def test_a_file_holds_nothing_of_when_and_where_it_was_written():
    rows = frames.rows(300)
    content = frames.fitted("random_forest", rows, rows).content
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert {entry.date_time for entry in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        names = [name.split(".")[0] for name in opened.namelist() if name != "schema.json"]
        assert names == sorted(names, key=int)
        assert max(map(int, names)) < 10_000  # no memory addresses
        assert json.loads(opened.read("schema.json"))
