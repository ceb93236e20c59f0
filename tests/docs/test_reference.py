"""The reference is generated from the code, and leaves nothing out."""

import dataclasses
import re
import typing

import pytest

from docs.generate import PARTS, PLACE, commands, dags, declarations, gates, rooms, watches
from docs.generate.docstrings import described
from docs.offline import loaded_from_elsewhere
from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.gate import Gate
from mlprod_tasks.monitoring.kinds import KINDS
from tests.support.paths import REPOSITORY

DOCS = REPOSITORY / "docs"
CLASSES = [name for name in ml.__all__ if dataclasses.is_dataclass(getattr(ml, name))]


def test_every_exported_name_of_the_declaration_has_one_place() -> None:
    listed = [name for group in declarations.GROUPS.values() for name in group]
    assert sorted(listed) == sorted(ml.__all__)


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_of_a_declared_class_says_what_it_means_in_order(name: str) -> None:
    fields = [field.name for field in dataclasses.fields(getattr(ml, name))]
    assert list(described(getattr(ml, name), fields).fields) == fields, (
        f"docstring of ml.{name}: one line `field: meaning` each"
    )


def test_a_meaning_ends_at_an_empty_line() -> None:
    def documented() -> None:
        """Summary.

        first: one
        line more
        second: two

        Not a field: prose.
        """

    told = described(documented, ["first", "second"])
    assert told.fields == {"first": "one line more", "second": "two"}
    assert told.prose.splitlines()[-1] == "Not a field: prose."


def test_every_gate_is_shown_by_an_example() -> None:
    assert {type(example) for example in gates.EXAMPLES} == set(typing.get_args(Gate))


def test_every_watched_value_is_in_a_table() -> None:
    shown = re.findall(r"^\| `(\w+)`", watches.watched_values(), re.MULTILINE)
    assert sorted(shown) == sorted(KINDS)


def test_every_standard_rule_is_in_a_table() -> None:
    shown = watches.rules()
    assert all(f"| {rule.name} |" in shown for rule in (*ml.RULES, *ml.REGRESSION_RULES, *ml.REQUEST_RULES))


def test_defaults_are_shown_as_one_would_write_them() -> None:
    assert declarations.default_shown(ml.days(7)) == "ml.days(7)"
    assert declarations.default_shown(ml.Retraining(cooldown=ml.hours(36))) == "ml.Retraining(cooldown=ml.hours(36))"
    assert declarations.default_shown((ml.LightGBM(max_trees=5),)) == "(ml.LightGBM(max_trees=5),)"
    assert declarations.default_shown(ml.RULES) == "ml.RULES"


def test_a_command_is_shown_with_its_arguments_and_options() -> None:
    shown = commands.reference()
    assert "mlprod train PIPELINE --as-of TICK [--by NAME] [--reason VALUE]" in shown
    assert "mlprod fallback PIPELINE [--by NAME] --on|--off [--reason VALUE]" in shown
    assert "### mlprod keys revoke" in shown


def test_every_generated_part_is_on_a_page() -> None:
    asked = {what for page in DOCS.rglob("*.md") for what in PLACE.findall(page.read_text(encoding="utf-8"))}
    assert asked | {"declaration gates"} == set(PARTS)  # gates have a page of their own


def test_every_dag_has_its_page() -> None:
    assert set(dags.ORDER) == {path.stem for path in dags.FOLDER.glob("*.py")} - {"refused"}
    assert all(dags.page(name) for name in dags.ORDER)


def test_every_room_is_listed() -> None:
    folders = {path.parent.name for path in rooms.PACKAGE.glob("*/__init__.py")}
    assert {room for room in rooms.rooms() if (rooms.PACKAGE / room).is_dir()} == folders


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<script src="https://cdn.example/x.js"></script>', ["https://cdn.example/x.js"]),
        ('<link rel="stylesheet" href="//fonts.example/f.css">', ["//fonts.example/f.css"]),
        ('<link rel="canonical" href="https://example.com/"><a href="https://example.com/">there</a>', []),
        ('<img src="picture.png">', []),
    ],
)
def test_a_page_that_loads_something_from_another_host_is_noticed(text: str, found: list[str]) -> None:
    assert loaded_from_elsewhere(text) == found


def test_a_style_sheet_that_loads_a_font_from_another_host_is_noticed() -> None:
    assert loaded_from_elsewhere("@import url('https://fonts.example/f.css');", css=True) == ["https://fonts.example/f.css"]
