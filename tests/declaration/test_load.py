"""A pipeline file that cannot be read is refused with its file, its line, the field and the remedy."""

from pathlib import Path

import pytest

from mlprod_tasks.declaration import DeclarationError, Pipeline, load, load_all
from mlprod_tasks.declaration.load import refused_together
from tests.support.paths import FLIGHTS

HEAD = "from datetime import date, time, timedelta\n\nfrom mlprod_tasks import declaration as ml\n\n"

# What the fourth line after the imports says -> what the refusal must hold.
WRONG: dict[str, tuple[str, tuple[str, ...]]] = {
    "a field with a typing error": (
        'ml.Column("x", "int", "doc", nulable=True)',
        ("Column.nulable: no such field, given True", "did you mean 'nullable'?"),
    ),
    "a field that is not there at all": (
        'ml.Column("x", "int", "doc", colour=1)',
        ("Column.colour: no such field, given 1", "fields are name, kind, doc, nullable"),
    ),
    "a field that is missing": ('ml.Column("x")', ("Column.kind: is missing",)),
    "one field too many": ('ml.Count("n", "n > 1", 3)', ("Count.2: Unexpected positional argument, given 3",)),
    "an unknown kind": ('ml.Column("x", "integer", "doc")', ("Column.kind: Input should be 'int', 'float'", "given 'integer'")),
    "text for a switch": ('ml.Column("x", "int", "doc", nullable="no")', ("Column.nullable: ", "boolean, given 'no'")),
    "text for a number": ('ml.Column("x", "int", "doc", max="12")', ("Column.max: ", "number, given '12'")),
    "a number that is none": ('ml.Column("x", "int", "doc", max=float("nan"))', ("Column.max: ", "finite number, given nan")),
    "an infinite bound": ('ml.AtLeast("roc_auc", float("inf"))', ("AtLeast.bound: ", "finite number, given inf")),
    "a number for a duration": (
        "ml.Split(validation=21, test=ml.days(28), gap=ml.days(2))",
        ("Split.validation: ", "given 21", "write days(...) or hours(...)"),
    ),
    "a bracket that is no tuple": (
        'ml.Table("t", ml.Database("b", "t"), key=("id"), columns=())',
        ("Table.key: ", "given 'id'", "a tuple of one is written ('id',)"),
    ),
    "a list": ('ml.Model(categorical=["a", "b"])', ("Model.categorical: ", "write it in round brackets")),
    "a source that is text": (
        'ml.Table("t", "business.t", key=("id",), columns=())',
        ("Table.source: Input should be one of Database, Files, given 'business.t'",),
    ),
    "an unknown metric": ('ml.AtLeast("beauty", 0.9)', ("AtLeast.metric: Input should be 'roc_auc'", "given 'beauty'")),
    "an unknown watch": ('ml.Watch("mood", low=1.0)', ("Watch.what: Input should be 'volume'", "given 'mood'")),
    "an unknown action": (
        'ml.Rule("r", "kpi", "panic")',
        ("Rule.action: Input should be 'note', 'alert', 'retrain'", "'panic'"),
    ),
    "an unknown time zone": (
        'ml.Schedule(time(4), "New York", date(2013, 1, 1))',
        ("Schedule: timezone 'New York' is not an IANA time zone; did you mean 'America/New_York'?",),
    ),
    "a path for a time zone": ('ml.Files("c", "p", "csv", timezone="../etc")', ("Files: timezone '../etc' is not",)),
    "no time zone": ('ml.Files("c", "p", "csv", timezone="")', ("Files: timezone '' is not",)),
    "seconds in the time of day": (
        'ml.Schedule(time(4, 0, 1), "UTC", date(2013, 1, 1))',
        ("Schedule: at 04:00:01 must be a whole minute",),
    ),
    "a zone in the time of day": (
        'ml.Schedule(time.fromisoformat("04:00+01:00"), "UTC", date(2013, 1, 1))',
        ("Schedule: at is a local time of day", "tzinfo"),
    ),
    "an end before the start": (
        'ml.Schedule(time(4), "UTC", date(2013, 1, 2), date(2013, 1, 1))',
        ("Schedule: ends 2013-01-01 is before starts 2013-01-02",),
    ),
    "a name that nobody defined": ("ml.Columm()", ("AttributeError: ", "Columm")),
    "an error in the file": ("1 / 0", ("ZeroDivisionError: division by zero",)),
    "a file that ends the process": ("raise SystemExit(3)", ("SystemExit: 3",)),
    "a module that is missing": ("import no_such_module", ("ModuleNotFoundError: ", "no_such_module")),
    "broken syntax": ("ml.Column(", ("SyntaxError: '(' was never closed",)),
}


@pytest.mark.parametrize(("line", "told"), WRONG.values(), ids=WRONG.keys())
def test_is_refused_with_file_line_and_field(line: str, told: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"{HEAD}wrong = {line}\n" if not line.startswith(("raise", "import")) else f"{HEAD}{line}\n")
    with pytest.raises(DeclarationError) as refused:
        load(path)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path.name}/mine.py:5: ")
    for part in told:
        assert part in message


def test_a_broken_rule_names_the_line_of_the_part(tmp_path: Path) -> None:
    written = FLIGHTS.read_text()
    (tmp_path / "flight_delays.py").write_text(written.replace('entity="flights"', 'entity="trips"'))
    line = next(n for n, text in enumerate(written.splitlines(), 1) if 'entity="flights"' in text)
    with pytest.raises(DeclarationError, match=rf"flight_delays\.py:{line}: Pipeline: entity 'trips' is not a declared table"):
        load(tmp_path / "flight_delays.py")


def test_a_relative_path_names_the_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("\n\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeclarationError, match=r"mine\.py:3: ZeroDivisionError"):
        load(Path("mine.py"))


def test_broken_syntax_in_an_imported_module_names_the_line_of_the_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "its_broken_helper.py").write_text("\n" * 40 + "x = (\n")
    (tmp_path / "mine.py").write_text("\nimport its_broken_helper\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DeclarationError, match=r"mine\.py:2: SyntaxError: .*its_broken_helper\.py, line 41"):
        load(tmp_path / "mine.py")


def test_a_file_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "flight_delays.py").write_text("")
    with pytest.raises(DeclarationError, match=r"flight_delay\.py: no such pipeline file in .*; there are flight_delays"):
        load(tmp_path / "flight_delay.py")


def test_a_module_without_a_pipeline_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("Pipeline = 3\n")
    with pytest.raises(DeclarationError, match=r"mine\.py: defines no `pipeline = Pipeline\(...\)`$"):
        load(tmp_path / "mine.py")


def test_a_pipeline_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("pipeline = {'name': 'mine'}\n")
    with pytest.raises(DeclarationError, match=r"its `pipeline` is of type dict"):
        load(tmp_path / "mine.py")


def test_a_pipeline_is_called_like_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FLIGHTS.read_text())
    with pytest.raises(DeclarationError, match=r"mine\.py: name 'flight_delays' must be the file's name, 'mine'"):
        load(tmp_path / "mine.py")


def test_a_folder_gives_its_pipelines_and_leaves_out_what_starts_with_an_underscore(tmp_path: Path) -> None:
    (tmp_path / "flight_delays.py").write_text(FLIGHTS.read_text())
    (tmp_path / "_shared.py").write_text("1 / 0\n")
    assert list(load_all(tmp_path)) == ["flight_delays"]


def test_one_wrong_file_refuses_the_folder(tmp_path: Path) -> None:
    (tmp_path / "flight_delays.py").write_text(FLIGHTS.read_text())
    (tmp_path / "mine.py").write_text("1 / 0\n")
    with pytest.raises(DeclarationError, match=r"mine\.py:1"):
        load_all(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="no such folder of pipelines; set MLPROD_PIPELINES"):
        load_all(tmp_path / "pipelines")


def test_the_digest_does_not_depend_on_how_the_file_is_written(tmp_path: Path, flights_pipeline: Pipeline) -> None:
    path = tmp_path / "flight_delays.py"
    path.write_text("# another comment\n" + FLIGHTS.read_text().replace("ml.days(28)", "ml.hours(24 * 28)"))
    assert load(path).digest == flights_pipeline.digest
    assert load(path) == flights_pipeline


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LGA", "LGX"),
        ("max_age=ml.hours(6)", "max_age=ml.hours(7)"),
        ('{"plane_built": "built", "plane_seats": "seats"}', '{"plane_seats": "seats", "plane_built": "built"}'),
    ],
    ids=["another value", "another age", "another order of the model's inputs"],
)
def test_the_digest_changes_with_the_declaration(old: str, new: str, tmp_path: Path, flights_pipeline: Pipeline) -> None:
    written = FLIGHTS.read_text()
    assert old in written
    path = tmp_path / "flight_delays.py"
    path.write_text(written.replace(old, new))
    assert load(path).digest != flights_pipeline.digest


def test_nothing_of_a_declaration_can_be_changed_afterwards(flights_pipeline: Pipeline) -> None:
    with pytest.raises(AttributeError):
        flights_pipeline.top_share = 0.5  # type: ignore[misc]
    with pytest.raises(AttributeError):
        flights_pipeline.tables[0].columns[0].nullable = True  # type: ignore[misc]


def test_two_use_cases_that_publish_to_one_table_are_both_refused(tmp_path: Path) -> None:
    written = FLIGHTS.read_text()
    for name, table in (("flight_delays", "shared"), ("flights_again", "shared"), ("own_table", "own")):
        text = written.replace('name="flight_delays"', f'name="{name}"').replace('"flight_delay_predictions"', f'"{table}"')
        (tmp_path / f"{name}.py").write_text(text)
    refused = refused_together(load(file) for file in tmp_path.glob("*.py"))
    assert set(refused) == {"flight_delays", "flights_again"}
    assert "also that of flights_again: they would delete each other's ticks" in str(refused["flight_delays"])
    with pytest.raises(DeclarationError, match="Give each its own table"):
        load_all(tmp_path)
