"""The usual mistakes of a first declaration: each is refused when the file is loaded, with the part's line and the remedy."""

from pathlib import Path

import pytest

from mlprod_tasks.declaration import DeclarationError, load

WRITTEN = '''\
"""Will a parcel take more than 48 hours?"""
from datetime import date, time
from mlprod_tasks import declaration as ml

parcels = ml.Table(
    "parcels",
    ml.Files("shop", "parcels.csv", "csv"),
    ("parcel_id",),
    time="sent_at",
    columns=(
        ml.Column("parcel_id", "text", "number of the parcel"),
        ml.Column("sent_at", "timestamp", "when it was sent"),
        ml.Column("day", "date", "the day"),
        ml.Column("carrier", "text", "who carries"),
        ml.Column("weight", "float", "kilograms"),
        ml.Column("delivered_at", "timestamp", "when it arrived", nullable=True),
        ml.Column("hours", "int", "hours on the way", nullable=True, known_at="delivered_at"),
    ),
)
carriers = ml.Table(
    "carriers",
    ml.Files("shop", "carriers.csv", "csv"),
    ("name",),
    columns=(
        ml.Column("name", "text", "who"),
        ml.Column("number", "int", "its number"),
        ml.Column("trucks", "int", "how many"),
    ),
)
pipeline = ml.Pipeline(
    name="late_parcels",
    alert_to=("logistics@example.com",),
    tables=(parcels, carriers),
    entity="parcels",
    schedule=ml.Schedule(at=time(4), timezone="UTC", starts=date(2024, 1, 2)),
    features=(
        ml.Expression("carrier", "carrier", "text", "who carries it"),
        ml.Expression("heavy", "weight > 10", "bool", "a heavy one"),
        ml.Lookup("carriers", {"carrier": "name"}, {"trucks": "trucks"}),
        ml.Trailing(
            "recent",
            "parcels",
            {"carrier": "carrier"},
            (ml.days(7),),
            (ml.Rate("late_rate", "hours > 48"), ml.Count()),
        ),
    ),
    label=ml.Label("parcels", {"parcel_id": "parcel_id"}, "hours > 48", delay=ml.days(5)),
    split=ml.Split(validation=ml.days(14), test=ml.days(14), gap=ml.days(5)),
    model=ml.Model(candidates=(ml.LightGBM(max_trees=50), ml.LogisticRegression())),
    gates=(ml.AtLeast("roc_auc", 0.6), ml.NotWorseThanChampion("roc_auc")),
    watches=(ml.Watch("roc_auc", low=0.5),),
    rules=(ml.Rule("poor", "roc_auc", "retrain"),),
)
'''

# What somebody writes -> what stood there, what he writes, what he is told.
MISTAKES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "an aggregate by another name": ("ml.Count()", 'ml.Average("weight")', ("did you mean ml.Mean?",)),
    "a class of another library": (
        "ml.LightGBM(max_trees=50)",
        "ml.RandomForestClassifier()",
        ("did you mean ml.RandomForest?",),
    ),
    "a misspelt class": ("ml.LogisticRegression()", "ml.LogisticRegresion()", ("did you mean ml.LogisticRegression?",)),
    "a class that resembles nothing": ("ml.LogisticRegression()", "ml.Zzz()", ("there are ", "LightGBM")),
    "a class without brackets": (
        "ml.LogisticRegression()",
        "ml.LogisticRegression",
        ("Model.candidates.1: ", "write LogisticRegression(...), with brackets"),
    ),
    "a class in quotes": (
        "ml.LogisticRegression()",
        '"logistic"',
        ("given 'logistic'", "did you mean LogisticRegression(...)?"),
    ),
    "one candidate without tuple": (
        "(ml.LightGBM(max_trees=50), ml.LogisticRegression())",
        "ml.LightGBM()",
        ("Model.candidates: ", "a tuple of one has a comma at its end"),
    ),
    "a metric by another name": ('AtLeast("roc_auc"', 'AtLeast("auc"', ("AtLeast.metric: ", "did you mean 'roc_auc'?")),
    "a metric that there is not": (
        'AtLeast("roc_auc"',
        'AtLeast("gini"',
        ("AtLeast.metric: Input should be 'roc_auc'", "given 'gini'"),
    ),
    "a bound in per cent": (
        'ml.AtLeast("roc_auc", 0.6)',
        'ml.AtLeast("roc_auc", 60)',
        ("gate AtLeast('roc_auc'): bound 60.0 is outside of [0, 1]",),
    ),
    "a bound on the wrong side": (
        'ml.AtLeast("roc_auc", 0.6)',
        'ml.AtLeast("log_loss", 0.6)',
        ("lower is better: use AtMost",),
    ),
    "a parameter by another name": (
        "max_trees=50",
        "n_estimators=50",
        ("LightGBM.n_estimators: no such field", "did you mean 'max_trees'?"),
    ),
    "a misspelt parameter": ("max_trees=50", "max_depht=5", ("did you mean 'max_depth'?",)),
    "an objective of a classifier": (
        "max_trees=50",
        'objective="binary"',
        ("LightGBM.objective: Input should be 'l2'", "given 'binary'"),
    ),
    "a kind called string": (
        '"carrier", "text", "who carries"',
        '"carrier", "string", "who carries"',
        ("Column.kind: ", "did you mean 'text'?"),
    ),
    "a kind called integer": ('"hours", "int"', '"hours", "integer"', ("did you mean 'int'?",)),
    "a kind called datetime": ('"sent_at", "timestamp"', '"sent_at", "datetime"', ("did you mean 'timestamp'?",)),
    "a kind called double": ('"weight", "float"', '"weight", "double"', ("did you mean 'float'?",)),
    "a kind called boolean": (
        '"weight > 10", "bool"',
        '"weight > 10", "boolean"',
        ("Expression.kind: ", "did you mean 'bool'?"),
    ),
    "a switch called null": ('"when it arrived", nullable=True', '"when it arrived", null=True', ("did you mean 'nullable'?",)),
    "values in a list": (
        '"who carries"',
        '"who carries", values=["a", "b"]',
        ("Column.values: ", "write it in round brackets"),
    ),
    "a header for a name": (
        '"weight", "float"',
        '"Weight kg", "float"',
        ("column 'Weight kg': name must be lower-case", "Column('weight_kg', source='Weight kg', ...)"),
    ),
    "a time of day as text": (
        "time(4)",
        '"04:00"',
        ("Schedule.at: ", "given '04:00'; write time(4), from datetime import time"),
    ),
    "an hour alone": ("time(4)", "4", ("write time(4)",)),
    "seconds": ("time(4)", "time(4, 0, 30)", ("Schedule: at 04:00:30 must be a whole minute",)),
    "a date as text": (
        "date(2024, 1, 2)",
        '"2024-01-02"',
        ("Schedule.starts: ", "write date(2024, 1, 2), from datetime import date"),
    ),
    "a zone by its initials": (
        'timezone="UTC"',
        'timezone="CEST"',
        ("timezone 'CEST' is not an IANA time zone such as 'Europe/Zurich'",),
    ),
    "an end before the start": (
        "starts=date(2024, 1, 2)",
        "starts=date(2024, 1, 2), ends=date(2023, 1, 2)",
        ("ends 2023-01-02 is before starts",),
    ),
    "a schedule too short for the windows": (
        "starts=date(2024, 1, 2)",
        "starts=date(2024, 1, 2), ends=date(2024, 1, 20)",
        ("schedule: from 2024-01-02 to 2024-01-20 are 19 ticks, but a training needs 44",),
    ),
    "a window as a number": ("(ml.days(7),)", "(7,)", ("Trailing.windows.0: ", "as in days(7)")),
    "a window without tuple": ("(ml.days(7),)", "ml.days(7)", ("Trailing.windows: ", "a tuple of one has a comma at its end")),
    "a delay as a number": ("delay=ml.days(5)", "delay=5", ("Label.delay: ", "as in days(5)")),
    "a gap shorter than the delay": (
        "gap=ml.days(5)",
        "gap=ml.days(2)",
        ("split.gap 2 days, 0:00:00 is shorter than label.delay 5 days", "Write gap=ml.days(5)"),
    ),
    "a label that is a number": (
        '"hours > 48", delay',
        '"hours", delay',
        ("label: sql 'hours' is int, not a condition", "as in hours > 0"),
    ),
    "a label that is computed to a number": (
        '"hours > 48", delay',
        '"hours - 48", delay',
        ("label: sql 'hours - 48' gives a number, not a condition",),
    ),
    "a label that is a text": (
        '"hours > 48", delay',
        '"lower(carrier)", delay',
        ("gives a text, not a condition that is true or false",),
    ),
    "an aggregate in a label": ('"hours > 48", delay', '"max(hours) > 48", delay', ("aggregates rows by 'max'",)),
    "a label of a column that there is not": (
        '"hours > 48", delay',
        '"houres > 48", delay',
        ("reads 'houres', which is no column of 'parcels': did you mean 'hours'?",),
    ),
    "a label that cannot be read": (
        '"hours > 48", delay',
        '"hours > 48 and", delay',
        ("'hours > 48 and' is no SQL that can be read",),
    ),
    "a text in double quotes": (
        '"hours > 48", delay',
        "'carrier = \"dhl\"', delay",
        ("a text is written in single quotes, as in 'dhl'",),
    ),
    "a whole query": (
        '"hours > 48", delay',
        '"SELECT hours > 48 FROM parcels", delay',
        ("is a query: write the expression alone",),
    ),
    "Python in SQL": ('"hours > 48", delay', '"carrier != None", delay', ("reads 'None', which is no column",)),
    "a label joined by part of the key": (
        '{"parcel_id": "parcel_id"}, "hours',
        '{"carrier": "carrier"}, "hours',
        ("label: `on` must match the whole key ('parcel_id',)",),
    ),
    "a label of a table that there is not": (
        'ml.Label("parcels"',
        'ml.Label("parcel"',
        ("label: table 'parcel' is not declared; declared are carriers, parcels",),
    ),
    "a text key joined to a number": (
        '{"carrier": "name"}',
        '{"carrier": "number"}',
        ("Lookup 'trucks': 'carrier' is text and 'number' is int", "they never match"),
    ),
    "a misspelt column in a feature": (
        '"weight > 10"',
        '"wieght > 10"',
        ("Expression 'heavy' reads 'wieght'", "did you mean 'weight'?"),
    ),
    "a misspelt column in a rate": (
        'ml.Rate("late_rate", "hours > 48")',
        'ml.Rate("late_rate", "hourz > 48")',
        ("Rate 'late_rate': sql 'hourz > 48' reads 'hourz'", "did you mean 'hours'?"),
    ),
    "a feature that cannot be read": (
        '"weight > 10"',
        '"weight > 10 or"',
        ("Expression 'heavy': sql 'weight > 10 or' is no SQL that can be read",),
    ),
    "a text declared as a number": (
        '"weight > 10", "bool"',
        '"carrier", "float"',
        ("Expression 'heavy': sql 'carrier' gives a text, not a number",),
    ),
    "a value that is not known in time": (
        '"weight > 10"',
        '"hours > 10"',
        ("Expression 'heavy' reads column 'hours'", "not known yet when the row is scored"),
    ),
    "an aggregate in a feature": ('"weight > 10"', '"avg(weight) > 10"', ("Expression 'heavy'", "aggregates rows by 'avg'")),
    "a feature that is a time": ('"weight > 10", "bool"', '"sent_at", "timestamp"', ("kind 'timestamp' is not a model input",)),
    "a name with capitals": ('ml.Expression("heavy"', 'ml.Expression("Heavy"', ("feature 'Heavy': name must be lower-case",)),
    "a mean of a text": ("ml.Count()", 'ml.Mean("carrier")', ("Mean of 'carrier' needs a number, but its kind is 'text'",)),
    "a look-up of a table with time": (
        'ml.Lookup("carriers", {"carrier": "name"}, {"trucks": "trucks"})',
        'ml.Lookup("parcels", {"parcel_id": "parcel_id"}, {"w": "weight"})',
        ("Lookup 'w': table 'parcels' has a time column", "use AsOf"),
    ),
    "columns that are no pairs": ('{"trucks": "trucks"}', '("trucks",)', ("Lookup.columns: ", "write pairs in curly brackets")),
    "a key without comma": ('("parcel_id",)', '("parcel_id")', ("Table.key: ", "a tuple of one is written ('parcel_id',)")),
    "a key that there is not": ('("parcel_id",)', '("id",)', ("table 'parcels': key column 'id' is not declared",)),
    "a time that there is not": (
        'time="sent_at"',
        'time="send_at"',
        ("time 'send_at' is not a declared timestamp column: did you mean 'sent_at'?",),
    ),
    "a time declared as text": (
        '"sent_at", "timestamp"',
        '"sent_at", "text"',
        ("time 'sent_at' is not a declared timestamp column", "a text such as '2024-01-31 08:00' is read as one"),
    ),
    "a known_at that there is not": (
        'known_at="delivered_at"',
        'known_at="arrived_at"',
        ("column 'hours': known_at 'arrived_at' is not a timestamp column",),
    ),
    "a format in capitals": ('"parcels.csv", "csv"', '"parcels.csv", "CSV"', ("Files.format: ", "did you mean 'csv'?")),
    "no format": ('"parcels.csv", "csv"', '"parcels.csv"', ("Files.format: is missing",)),
    "an entity that there is not": (
        'entity="parcels"',
        'entity="parcel"',
        ("entity 'parcel' is not a declared table; declared are carriers, parcels",),
    ),
    "a table for its name": ('entity="parcels"', "entity=parcels", ("Pipeline.entity: ", "write its name, 'parcels'")),
    "names for tables": (
        "tables=(parcels, carriers)",
        'tables=("parcels", "carriers")',
        ("Pipeline.tables.0: ", "named without quotes"),
    ),
    "a table that is left out": (
        "tables=(parcels, carriers)",
        "tables=(parcels,)",
        ("table 'carriers' is not declared; declared are parcels",),
    ),
    "an address without tuple": (
        '("logistics@example.com",)',
        '"logistics@example.com"',
        ("Pipeline.alert_to: ", "('logistics@example.com',)"),
    ),
    "a misspelt part": ("label=ml.Label", "lable=ml.Label", ("Pipeline.lable: no such field", "did you mean 'label'?")),
    "a task by another name": (
        'entity="parcels"',
        'entity="parcels", task="classification"',
        ("task 'classification'", "did you mean 'binary'?"),
    ),
    "a watch by another name": ('ml.Watch("roc_auc"', 'ml.Watch("auc"', ("Watch.what: ", "did you mean 'roc_auc'?")),
    "an action by another name": ('"roc_auc", "retrain"', '"roc_auc", "email"', ("Rule.action: ", "did you mean 'alert'?")),
    "a wrong import": (
        "import declaration as ml",
        "import declarations as ml",
        ("Write: from mlprod_tasks import declaration as ml",),
    ),
    "a comma that is missing": ('entity="parcels",', 'entity="parcels"', ("Perhaps you forgot a comma?",)),
    "a bracket in a KPI": (
        "watches=",
        'kpi=ml.Kpi("k", "avg(value", "doc"), watches=',
        ("kpi: sql 'avg(value' has an open bracket",),
    ),
}
# What is told with another line than that of what was changed: that of the table, or of who names the one that is left out.
ELSEWHERE = {
    "a key that there is not": "parcels = ml.Table(",
    "a time that there is not": "parcels = ml.Table(",
    "a time declared as text": "parcels = ml.Table(",
    "a table that is left out": "ml.Lookup(",
    "a mean of a text": "ml.Trailing(",
}


def line_of(text: str) -> int:
    return WRITTEN[: WRITTEN.index(text)].count("\n") + 1


def test_without_a_mistake_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "late_parcels.py").write_text(WRITTEN)
    assert load(tmp_path / "late_parcels.py").name == "late_parcels"
    assert len(MISTAKES) >= 45


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_usual_mistake_is_refused_with_the_line_of_its_part_and_what_to_write(mistake: str, tmp_path: Path) -> None:
    stood, written, told = MISTAKES[mistake]
    (tmp_path / "late_parcels.py").write_text(WRITTEN.replace(stood, written, 1))
    with pytest.raises(DeclarationError) as refused:
        load(tmp_path / "late_parcels.py")
    said = str(refused.value)
    assert f"late_parcels.py:{line_of(ELSEWHERE.get(mistake, stood))}: " in said
    assert [part for part in told if part not in said] == [], said


def test_each_problem_is_told_with_its_own_line(tmp_path: Path) -> None:
    wrong = WRITTEN.replace('"weight > 10"', '"wieght > 10"').replace('"hours > 48", delay', '"hours", delay')
    (tmp_path / "late_parcels.py").write_text(wrong)
    with pytest.raises(DeclarationError) as refused:
        load(tmp_path / "late_parcels.py")
    assert f"late_parcels.py:{line_of('weight > 10')}: Pipeline: Expression 'heavy' reads 'wieght'" in str(refused.value)
    assert f"; line {line_of('ml.Label(')}: label: sql 'hours' is int" in str(refused.value)


def test_that_its_sql_was_right_is_remembered_until_the_declaration_changes(tmp_path: Path) -> None:
    path = tmp_path / "late_parcels.py"
    path.write_text(WRITTEN)
    load(path)
    (remembered,) = (tmp_path / "__pycache__").glob("late_parcels.sql-*")
    path.write_text(WRITTEN.replace('"hours > 48", delay', '"houres > 48", delay'))
    with pytest.raises(DeclarationError, match="houres"):
        load(path)
    with pytest.raises(DeclarationError, match="houres"):
        load(path)
    path.write_text(WRITTEN)
    remembered.write_bytes(b"\xff")
    assert load(path).name == "late_parcels", "what cannot be read is made anew"
