"""The first page keeps its promises: its use case loads, its links lead somewhere, and it stays short."""

import re
from pathlib import Path

import pytest

from mlprod_tasks.declaration import DeclarationError, load
from tests.support.paths import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
USE_CASE = re.search(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[1]


def test_the_use_case_of_the_readme_loads(tmp_path: Path) -> None:
    path = tmp_path / "late_parcels.py"
    path.write_text(USE_CASE, encoding="utf-8")
    pipeline = load(path)
    assert pipeline.feature_names == ("carrier", "carrier_late_rate_7d")


def test_the_refusal_that_the_readme_shows_is_the_one_that_comes(tmp_path: Path) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    path = folder / "late_parcels.py"
    path.write_text(USE_CASE.replace('{"parcel_id": "parcel_id"}', '{"carrier": "carrier"}'), encoding="utf-8")
    shown = re.search(r"^    DeclarationError: (.*)$", README, re.MULTILINE)[1]
    with pytest.raises(DeclarationError, match=re.escape(shown)):
        load(path)


def test_every_file_that_the_readme_links_to_is_there() -> None:
    linked = [target for target in re.findall(r"\]\(([^)#]+)", README) if "://" not in target]
    assert [target for target in linked if not (REPOSITORY / target).is_file()] == []


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
