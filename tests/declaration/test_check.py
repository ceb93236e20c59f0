"""Every rule between the parts of a declaration: what breaks it, and the message that names the field."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml

Change = Callable[[ml.Pipeline], ml.Pipeline]


def pipeline_with(**fields: Any) -> Change:
    return lambda pipeline: replace(pipeline, **fields)


def part_with(part: str, /, **fields: Any) -> Change:
    """Change fields of one part: split, model, value ..."""
    return lambda pipeline: replace(pipeline, **{part: replace(getattr(pipeline, part), **fields)})


def table_with(name: str, /, **fields: Any) -> Change:
    def change(pipeline: ml.Pipeline) -> ml.Pipeline:
        return replace(pipeline, tables=tuple(replace(t, **fields) if t.name == name else t for t in pipeline.tables))

    return change


def column_with(table: str, name: str, /, **fields: Any) -> Change:
    def change(pipeline: ml.Pipeline) -> ml.Pipeline:
        columns = tuple(replace(c, **fields) if c.name == name else c for c in pipeline.table(table).columns)
        return table_with(table, columns=columns)(pipeline)

    return change


def candidates(*learners: ml.Learner, **fields: Any) -> Change:
    """A model with other candidates."""
    return part_with("model", candidates=learners, **fields)


def added(*features: Any) -> Change:
    return lambda pipeline: replace(pipeline, features=(*pipeline.features, *features))


def without(name: str) -> Change:
    """Leave out one expression."""
    return lambda p: replace(p, features=tuple(f for f in p.features if getattr(f, "name", None) != name))


def both(*changes: Change) -> Change:
    """Several changes to the tables at once; only the last may make the declaration wrong."""

    def change(pipeline: ml.Pipeline) -> ml.Pipeline:
        for one in changes:
            pipeline = one(pipeline)
        return pipeline

    return change


def expression(sql: str, name: str = "made", kind: str = "int") -> ml.Expression:
    return ml.Expression(name, sql, kind, "made up")


def trailing(**fields: Any) -> ml.Trailing:
    given = {
        "name": "by_dest",
        "table": "arrivals",
        "by": {"dest": "dest"},
        "windows": (ml.days(1),),
        "aggregates": (ml.Count(),),
    }
    return ml.Trailing(**(given | fields))


def as_of(**fields: Any) -> ml.AsOf:
    given = {"table": "weather", "on": {"origin": "origin"}, "columns": {"wind": "wind_speed"}, "max_age": ml.hours(2)}
    return ml.AsOf(**(given | fields))


def lookup(**fields: Any) -> ml.Lookup:
    return ml.Lookup(**({"table": "planes", "on": {"tailnum": "tailnum"}, "columns": {"motors": "engines"}} | fields))


PERSONAL = column_with("planes", "seats", personal="drop")
AHEAD = ml.Before(ml.days(2))

REGISTER = ml.Table(
    "register",
    ml.Database("business", "register"),
    key=("id",),
    columns=(
        ml.Column("id", "int", "number"),
        ml.Column("note", "text", "remark", nullable=True),
        ml.Column("noted_at", "timestamp", "when it was written", nullable=True),
    ),
)


# What is declared wrongly -> the change that does it, and what the message must hold.
RULES: dict[str, tuple[Change, tuple[str, ...]]] = {
    # the pipeline itself
    "a name with capitals": (pipeline_with(name="Flights"), ("name 'Flights'", "lower-case")),
    "a name that starts with a digit": (pipeline_with(name="2flights"), ("name '2flights'",)),
    "a task that is not built yet": (pipeline_with(task="regression"), ("task 'regression'", "'binary'")),
    "nobody to tell": (pipeline_with(alert_to=()), ("alert_to is empty",)),
    "an address without @": (pipeline_with(alert_to=("ops",)), ("alert_to: 'ops'", "ops@example.com")),
    "two addresses in one": (pipeline_with(alert_to=("a@x.org, b@x.org",)), ("alert_to: 'a@x.org, b@x.org'",)),
    "an address that smuggles a header": (pipeline_with(alert_to=("a@x.org\nBcc: b@x.org",)), ("alert_to:", "Bcc")),
    "a top share of everything": (pipeline_with(top_share=1.0), ("top_share 1.0",)),
    "an entity that is no table": (pipeline_with(entity="trips"), ("entity 'trips'", "arrivals, flights")),
    "an entity without time": (pipeline_with(entity="planes"), ("table 'planes'", "`time`", "SplitByHash")),
    "two tables of one name": (lambda p: replace(p, tables=(*p.tables, p.tables[0])), ("tables: 'flights'", "2 times")),
    # tables
    "a table name with a hyphen": (
        lambda p: replace(p, tables=(*p.tables, replace(p.tables[3], name="plane-types"))),
        ("table 'plane-types': name",),
    ),
    "a database's address for a connection": (
        table_with("planes", source=ml.Database("postgresql://me:secret@db/x", "planes")),
        ("table 'planes': source.connection is an address",),
    ),
    "a connection with a space": (
        table_with("planes", source=ml.Database("the business", "planes")),
        ("table 'planes': source.connection 'the business'",),
    ),
    "files outside of their folder": (
        table_with("weather", source=ml.Files("drop", "../weather.csv", "csv")),
        ("table 'weather': source.path '../weather.csv'", "below the folder"),
    ),
    "files at an absolute path": (
        table_with("weather", source=ml.Files("drop", "/data/weather.csv", "csv")),
        ("source.path '/data/weather.csv'", "relative"),
    ),
    "files by something other than the tick": (
        table_with("weather", source=ml.Files("drop", "weather/{date}.csv", "csv")),
        ("source.path 'weather/{date}.csv'", "only {tick}"),
    ),
    "a reference table in a file a tick": (
        table_with("planes", source=ml.Files("drop", "planes/{tick}.csv", "csv")),
        ("table 'planes': source.path", "{tick}", "`time`"),
    ),
    "no key": (table_with("planes", key=()), ("table 'planes': key names no column",)),
    "a key that is no column": (table_with("weather", key=("station",)), ("key column 'station' is not declared", "humid")),
    "a key given twice": (table_with("weather", key=("origin", "origin", "observed_at")), ("table 'weather': key: 'origin'",)),
    "a key that may be null": (table_with("weather", key=("temp",)), ("table 'weather': key column 'temp'", "nullable")),
    "a time that is no column": (table_with("weather", time="hour"), ("table 'weather': time 'hour'",)),
    "a time that is no timestamp": (table_with("weather", time="temp"), ("table 'weather': time 'temp'", "timestamp")),
    "a time that may be null": (column_with("weather", "observed_at", nullable=True), ("time column 'observed_at'",)),
    "known after without time": (table_with("planes", known_after=ml.hours(1)), ("table 'planes': known_after", "`time`")),
    "known before it happened": (table_with("weather", known_after=ml.hours(-1)), ("known_after", "may not be negative")),
    "negative refreshing": (table_with("weather", refresh_ticks=-1), ("refresh_ticks may not be negative",)),
    "known both ahead and after": (table_with("weather", ticks_ahead=1), ("table 'weather'", "ticks_ahead or known_after")),
    "everything may be refused": (table_with("weather", max_refused_share=1.0), ("table 'weather': max_refused_share 1.0",)),
    "fewer rows at most than at least": (table_with("weather", min_rows=9, max_rows=8), ("max_rows 8 is below min_rows 9",)),
    # columns
    "two columns of one name": (column_with("weather", "temp", name="humid"), ("table 'weather': columns: 'humid'",)),
    "a column name with a space": (column_with("weather", "temp", name="the temp"), ("column 'the temp': name",)),
    "a column that the lake needs": (
        column_with("weather", "temp", name="tick"),
        ("column 'tick'", "used by the lake itself", "weather_tick"),
    ),
    "a bound on text": (column_with("flights", "dest", min=3.0), ("column 'dest': min and max need a number", "'text'")),
    "min above max": (column_with("flights", "distance", min=7000.0), ("column 'distance': min 7000.0 is above max 6000.0",)),
    "listed values of a float": (column_with("weather", "temp", values=(1, 2)), ("column 'temp': values need kind", "'float'")),
    "no value allowed": (column_with("flights", "origin", values=()), ("column 'origin': values allows nothing",)),
    "numbers allowed in a text": (column_with("flights", "origin", values=("JFK", 1)), ("column 'origin': values", "'text'")),
    "a share of nulls where none may be": (
        column_with("flights", "dest", max_null_share=0.1),
        ("column 'dest': max_null_share 0.1", "nullable=True"),
    ),
    "a share of nulls above one": (column_with("flights", "tailnum", max_null_share=1.5), ("max_null_share 1.5", "[0, 1)")),
    "known at no column": (column_with("arrivals", "arr_delay", known_at="gate_at"), ("'arr_delay': known_at 'gate_at'",)),
    "known at a number": (
        column_with("arrivals", "arr_delay", known_at="dep_delay"),
        ("known_at 'dep_delay' is not a timestamp",),
    ),
    "known at a moment that is dropped": (
        both(
            without("block_minutes"),
            column_with("flights", "sched_arr_at", personal="drop"),
            column_with("flights", "distance", known_at="sched_arr_at"),
        ),
        ("column 'distance': known_at 'sched_arr_at' is personal",),
    ),
    "known late in a table without time": (
        both(
            lambda p: replace(p, tables=(*p.tables, REGISTER)),
            column_with("register", "note", known_at="noted_at"),
        ),
        ("table 'register': column 'note': known_at needs a table with a `time`",),
    ),
    "a hashed float": (column_with("weather", "pressure", personal="hash"), ("column 'pressure': personal='hash'", "'float'")),
    "a personal time": (column_with("weather", "observed_at", personal="drop"), ("column 'observed_at'", "cannot be personal")),
    # features
    "two features of one name": (added(expression("distance", "carrier")), ("features: 'carrier' is declared 2 times",)),
    "a feature name with a capital": (added(expression("distance", "Miles")), ("feature 'Miles': name",)),
    "a feature called like a column it is not": (
        added(expression("1", "tailnum")),
        ("feature 'tailnum'", "column of 'flights'"),
    ),
    "a feature called like what the steps add": (added(expression("1", "score")), ("feature 'score'", "reserved")),
    "the key as a feature of its own name": (
        added(expression("flight_id", "flight_id", "text")),
        ("feature 'flight_id'", "key"),
    ),
    "an expression that is empty": (added(expression(" ")), ("Expression 'made': sql is empty",)),
    "an expression that is two statements": (added(expression("1; DROP TABLE x")), ("Expression 'made'", "without ;")),
    "an expression with a comment": (added(expression("1 -- one")), ("Expression 'made'", "comments")),
    "an expression with an open bracket": (added(expression("abs(distance")), ("Expression 'made'", "open bracket")),
    "an expression with an open quote": (added(expression("'abc")), ("Expression 'made'", "quote")),
    "an expression that is a moment": (
        added(expression("sched_dep_at", kind="timestamp")),
        ("'made': kind 'timestamp'", "number"),
    ),
    "an expression over a personal column": (
        both(added(expression("flight_number + 1")), column_with("flights", "flight_number", personal="drop")),
        ("Expression 'made': reads column 'flight_number' of 'flights', which is personal",),
    ),
    "an expression over what is not known yet": (
        both(added(expression("DISTANCE + 1")), column_with("flights", "distance", known_at="sched_arr_at")),
        ("Expression 'made' reads column 'distance' of 'flights'", "known only at 'sched_arr_at'"),
    ),
    "a look-up in no table": (added(lookup(table="ships")), ("Lookup 'motors': table 'ships' is not declared", "planes")),
    "a look-up in a table that changes": (
        added(lookup(table="weather", on={"origin": "origin"}, columns={"wind": "wind_speed"})),
        ("Lookup 'wind': table 'weather' has a time column", "use AsOf"),
    ),
    "a look-up by half a key": (
        both(added(lookup()), table_with("planes", key=("tailnum", "built"))),
        ("`on` must match the whole key ('tailnum',",),
    ),
    "a look-up of nothing": (added(lookup(columns={})), ("Lookup 'of planes': columns is empty",)),
    "a look-up of no column": (added(lookup(columns={"wings": "wings"})), ("reads column 'wings'", "it has built, engines")),
    "a look-up of a personal column": (
        PERSONAL,
        ("Lookup 'plane_built': reads column 'seats' of 'planes', which is personal",),
    ),
    "a look-up of a date": (
        both(added(lookup()), column_with("planes", "engines", kind="date", min=None, max=None)),
        ("Lookup 'motors': column 'engines' is a date", "not a model input"),
    ),
    "a join on no column of ours": (
        added(lookup(on={"plane": "tailnum"})),
        ("Lookup 'motors': 'plane' is not a column of 'flights'",),
    ),
    "a join on no column of theirs": (
        added(lookup(on={"tailnum": "id"})),
        ("Lookup 'motors': 'id' is not a column of 'planes'",),
    ),
    "a join of text with a number": (added(lookup(on={"tailnum": "seats"})), ("'tailnum' is text and 'seats' is int",)),
    "a join on nothing": (added(as_of(on={})), ("AsOf 'wind': no columns to join on",)),
    "a join of which one side is hashed": (
        column_with("arrivals", "tailnum", personal="hash"),
        ("Trailing 'plane': 'tailnum' is text and 'tailnum' is text, or only one is hashed",),
    ),
    "a join on a dropped column": (
        column_with("flights", "tailnum", personal="drop"),
        ("'tailnum' of 'flights' is personal and dropped",),
    ),
    "a join on a column they drop": (
        column_with("arrivals", "tailnum", personal="drop"),
        ("'tailnum' of 'arrivals' is personal and dropped",),
    ),
    "as of in a table without time": (
        added(as_of(table="planes", on={"tailnum": "tailnum"}, columns={"motors": "engines"})),
        ("AsOf 'motors': table 'planes' has no time column", "use Lookup"),
    ),
    "as of no age": (added(as_of(max_age=ml.hours(0))), ("AsOf 'wind': max_age must be positive",)),
    "as of half a second": (added(as_of(max_age=timedelta(seconds=1.5))), ("max_age 0:00:01.500000", "whole seconds")),
    "windows in a table without time": (
        added(trailing(table="planes", by={"tailnum": "tailnum"})),
        ("Trailing 'by_dest': table 'planes' has no time column",),
    ),
    "no windows": (added(trailing(windows=())), ("Trailing 'by_dest': declare at least one of windows",)),
    "a window of nothing": (added(trailing(windows=(ml.days(0),))), ("Trailing 'by_dest': windows must be positive",)),
    "a window of half a second": (added(trailing(windows=(timedelta(seconds=0.5),))), ("'by_dest': windows", "0:00:00.500000")),
    "the same window twice": (
        added(trailing(windows=(ml.days(1), ml.hours(24)))),
        ("Trailing 'by_dest': windows: '1d' is declared 2 times",),
    ),
    "no aggregates": (added(trailing(aggregates=())), ("Trailing 'by_dest': declare at least one aggregate",)),
    "the same aggregate twice": (
        added(trailing(aggregates=(ml.Mean("arr_delay"), ml.Mean("arr_delay")))),
        ("features: 'by_dest_mean_arr_delay_1d' is declared 2 times",),
    ),
    "the mean of text": (added(trailing(aggregates=(ml.Mean("dest"),))), ("Mean of 'dest' needs a number", "'text'")),
    "the sum of text": (added(trailing(aggregates=(ml.Sum("dest"),))), ("Sum of 'dest' needs a number", "'text'")),
    "the smallest text": (added(trailing(aggregates=(ml.Min("dest"),))), ("Min of 'dest' needs a number", "'text'")),
    "the last moment": (
        added(trailing(aggregates=(ml.Last("landed_at"),))),
        ("Last of 'landed_at' is a timestamp, which is not a model input: use SinceFirst or SinceLast",),
    ),
    "an expression over no feature": (
        added(ml.Expression("ratio", "by_dest_mean / nullif(origin_mean_arr_delay_7, 0)", "float", "-")),
        ("Expression 'ratio' reads 'origin_mean_arr_delay_7'", "did you mean 'origin_mean_arr_delay_7d'?"),
    ),
    "an expression of no column": (
        added(ml.Expression("weekday_", "extract(isodow FROM sched_dep)", "int", "-")),
        ("reads 'sched_dep', which is neither a column of 'flights' nor a feature: did you mean 'sched_dep_at'?",),
    ),
    "an expression over itself": (added(ml.Expression("more", "more + 1", "int", "-")), ("Expression 'more' reads itself",)),
    "expressions in a circle": (
        added(ml.Expression("here", "1 + there", "int", "-"), ml.Expression("there", "1 + here", "int", "-")),
        ("Expression 'here' reads 'there', an expression that is declared after it: declare 'there' first",),
    ),
    "a quantile above all": (
        added(trailing(aggregates=(ml.Quantile("arr_delay", 90.0),))),
        ("q 90 of Quantile 'q9000_arr_delay' must lie between 0 and 1",),
    ),
    "different moments": (added(trailing(aggregates=(ml.CountDistinct("landed_at"),))), ("CountDistinct of 'landed_at'",)),
    "the slope of text": (added(trailing(aggregates=(ml.Slope("dest"),))), ("Slope of 'dest' needs a number", "'text'")),
    "rows that meet no condition": (
        added(trailing(aggregates=(ml.Sum("arr_delay", where="dest"),))),
        ("where of Sum 'sum_arr_delay': sql 'dest' is text, not a condition", "dest = 'yes'"),
    ),
    "a window that ends later than now": (added(trailing(skip=-ml.days(1))), ("skip", "may not be negative")),
    "the mean of no column": (added(trailing(aggregates=(ml.Mean("taxi"),))), ("'by_dest': reads column 'taxi'", "arr_delay")),
    "a rate of nothing": (added(trailing(aggregates=(ml.Rate("none", ""),))), ("Rate 'none': sql is empty",)),
    "a rate of a personal column": (
        both(
            added(trailing(aggregates=(ml.Rate("left", "dep_delay > 0"),))),
            column_with("arrivals", "dep_delay", personal="drop", min=None, max=None),
        ),
        ("Rate 'left': reads column 'dep_delay' of 'arrivals', which is personal",),
    ),
    # label and moment
    "a label in no table": (part_with("label", table="landings"), ("label: table 'landings'", "arrivals")),
    "a label by half a key": (table_with("arrivals", key=("flight_id", "carrier")), ("label: `on` must match the whole key",)),
    "a label without time": (
        part_with("label", table="planes", on={"tailnum": "tailnum"}, sql="seats > 9"),
        ("label: table 'planes' has no time",),
    ),
    "a label without a condition": (part_with("label", sql=""), ("label: sql is empty",)),
    "a label without delay": (part_with("label", delay=ml.days(0)), ("label: delay must be positive",)),
    "an outcome that is known ahead": (
        part_with("label", table="flights", sql="distance > 9"),
        ("label: table 'flights' is known ahead", "known_at"),
    ),
    "predicted later than scored": (
        pipeline_with(predict_at=ml.Before(ml.hours(2))),
        ("predict_at: Before(2:00:00)", "AtTick()"),
    ),
    "predicted before the row is known": (
        both(pipeline_with(predict_at=AHEAD), table_with("flights", ticks_ahead=0)),
        ("predict_at: Before(...) needs rows that are known ahead", "'flights'"),
    ),
    # training
    "no validation": (part_with("split", validation=ml.hours(3)), ("split.validation 3:00:00",)),
    "no test": (part_with("split", test=ml.days(0)), ("split.test 0:00:00",)),
    "no training": (part_with("split", train=ml.hours(1)), ("split.train 1:00:00",)),
    "a gap shorter than the label's delay": (part_with("split", gap=ml.days(1)), ("split.gap 1 day", "label.delay 2 days")),
    "an unknown category": (part_with("model", categorical=("colour",)), ("model.categorical: 'colour'", "carrier")),
    "a learning rate of zero": (
        candidates(ml.LightGBM(learning_rate=0.0)),
        ("model.candidates 'lightgbm': learning_rate 0.0 must be positive",),
    ),
    "no trees": (candidates(ml.LightGBM(max_trees=0)), ("model.candidates 'lightgbm': max_trees 0",)),
    "no patience": (
        candidates(ml.LightGBM(early_stopping_rounds=0)),
        ("model.candidates 'lightgbm': early_stopping_rounds 0",),
    ),
    "empty leaves": (candidates(ml.LightGBM(min_data_in_leaf=0)), ("model.candidates 'lightgbm': min_data_in_leaf 0",)),
    "a tree of one leaf": (candidates(ml.LightGBM(num_leaves=1)), ("model.candidates 'lightgbm': num_leaves 1",)),
    "more features than there are": (
        candidates(ml.LightGBM(feature_fraction=1.2)),
        ("model.candidates 'lightgbm': feature_fraction 1.2",),
    ),
    "no rows in the bag": (
        candidates(ml.LightGBM(bagging_fraction=0.0)),
        ("model.candidates 'lightgbm': bagging_fraction 0.0",),
    ),
    "a negative penalty": (candidates(ml.LightGBM(lambda_l2=-1.0)), ("model.candidates 'lightgbm': lambda_l2 -1.0",)),
    "no threads": (part_with("model", threads=0), ("model.threads 0",)),
    "no candidate": (candidates(), ("model.candidates is empty", "LightGBM()")),
    "the same candidate twice": (
        candidates(ml.LightGBM(), ml.LightGBM(num_leaves=7)),
        ("model.candidates: 'lightgbm' is declared 2 times",),
    ),
    "a name that is none": (candidates(ml.LightGBM(name="My trees")), ("model.candidates 'My trees': name must be",)),
    "the name of the warm update": (
        candidates(ml.LightGBM(name="lightgbm_continued"), warm_update=True),
        ("'lightgbm_continued': with warm_update", "give another"),
    ),
    "no trees in a forest": (candidates(ml.RandomForest(trees=0)), ("'random_forest': trees 0 must be positive",)),
    "a forest without depth": (candidates(ml.ExtraTrees(max_depth=0)), ("'extra_trees': max_depth 0 must be positive",)),
    "endless leaves": (candidates(ml.HistGradientBoosting(num_leaves=200_000)), ("num_leaves 200000 must be at most 131072",)),
    "a penalty without strength": (
        candidates(ml.LogisticRegression(c=0.0)),
        ("'logistic_regression': c 0.0 must be positive",),
    ),
    "a net without layers": (candidates(ml.NeuralNet(hidden=())), ("'neural_net': hidden () must name at least one layer",)),
    "an empty layer": (candidates(ml.NeuralNet(hidden=(8, 0))), ("'neural_net': hidden (8, 0) must name at least one layer",)),
    "an ensemble of one": (
        candidates(ml.LightGBM(), ml.Averaging(of=("lightgbm",))),
        ("model.candidates 'averaging': of=('lightgbm',) needs at least two",),
    ),
    "an ensemble of the same": (
        candidates(ml.LightGBM(), ml.Constant(), ml.Stacking(of=("lightgbm", "lightgbm", "constant"))),
        ("model.candidates 'stacking': of: 'lightgbm' is declared 2 times",),
    ),
    "an ensemble of strangers": (
        candidates(ml.LightGBM(), ml.Averaging(of=("lightgbm", "xgboost"))),
        ("'averaging': of names 'xgboost'", "there are lightgbm"),
    ),
    "an ensemble of a later ensemble": (
        candidates(
            ml.LightGBM(), ml.Constant(), ml.Averaging(of=("lightgbm", "stacking")), ml.Stacking(of=("lightgbm", "constant"))
        ),
        ("'averaging': of names 'stacking', which is no candidate declared before it",),
    ),
    "a stack of one fold": (
        candidates(ml.LightGBM(), ml.Constant(), ml.Stacking(of=("lightgbm", "constant"), folds=1)),
        ("'stacking': folds 1 must be at least 2",),
    ),
    "positives that count nothing": (part_with("model", weights=0.0), ("model.weights 0.0 must be positive",)),
    "a half-life of nothing": (part_with("model", half_life=ml.days(0)), ("model.half_life 0:00:00 must be positive",)),
    "a warm update of no trees": (
        candidates(ml.LogisticRegression(), warm_update=True),
        ("model.warm_update continues a LightGBM", "declare one"),
    ),
    "segments by no feature": (part_with("model", segment_by="colour"), ("model.segment_by: 'colour'", "carrier")),
    "segments by a number": (
        part_with("model", segment_by="distance"),
        ("model.segment_by: 'distance' is int", "text feature"),
    ),
    "segments by an as-of feature": (
        part_with("model", segment_by="weather_temp"),
        ("model.segment_by: 'weather_temp' rests on as-of", "from the row itself"),
    ),
    "segments of no rows": (part_with("model", least_segment_rows=0), ("model.least_segment_rows 0",)),
    "a negative seed": (part_with("model", seed=-1), ("model.seed -1 must lie in",)),
    "a fallback by no feature": (part_with("fallback", by=("colour",)), ("fallback.by: 'colour'",)),
    "a fallback by an as-of feature": (part_with("fallback", by=("weather_temp",)), ("fallback.by: 'weather_temp' rests on",)),
    "a fallback by an expression over one": (
        both(added(expression("WEATHER_TEMP > 32", "warm", "bool")), part_with("fallback", by=("warm",))),
        ("fallback.by: 'warm' rests on",),
    ),
    "no smoothing": (part_with("fallback", smoothing=0.0), ("fallback.smoothing 0.0",)),
    "acting that never pays": (part_with("value", true_positive=-1.0), ("value: acting must pay",)),
    # gates
    "no gates": (pipeline_with(gates=()), ("gates: declare at least one",)),
    "the same gate twice": (
        pipeline_with(gates=(ml.AtLeast("roc_auc", 0.6), ml.AtLeast("roc_auc", 0.7))),
        ("gates: \"AtLeast('roc_auc')\" is declared 2 times",),
    ),
    "a loss of at least": (pipeline_with(gates=(ml.AtLeast("log_loss", 0.3),)), ("AtLeast('log_loss')", "use AtMost")),
    "an AUC of at most": (pipeline_with(gates=(ml.AtMost("roc_auc", 0.6),)), ("AtMost('roc_auc')", "use AtLeast")),
    "an AUC in per cent": (pipeline_with(gates=(ml.AtLeast("roc_auc", 60.0),)), ("bound 60.0 is outside of [0, 1]",)),
    "better by less than nothing": (pipeline_with(gates=(ml.BetterThanBaseline("brier", by=-0.1),)), ("by -0.1", "worse")),
    "a negative tolerance": (pipeline_with(gates=(ml.NotWorseThanChampion("brier", -0.1),)), ("tolerance -0.1",)),
    # monitoring
    "a watch without bounds": (pipeline_with(watches=(ml.Watch("kpi"),), rules=()), ("watch 'kpi': declare low, high",)),
    "bounds the wrong way round": (
        pipeline_with(watches=(ml.Watch("kpi", low=2.0, high=1.0),), rules=()),
        ("watch 'kpi': low 2.0 is not below high 1.0",),
    ),
    "only important scores": (
        pipeline_with(watches=(ml.Watch("score_psi", high=0.2, only_important=True),), rules=()),
        ("watch 'score_psi': only_important",),
    ),
    "the same watch twice": (
        pipeline_with(watches=(ml.Watch("kpi", low=0.1), ml.Watch("kpi", low=0.2)), rules=()),
        ("watches: 'kpi' is declared 2 times",),
    ),
    "the same rule twice": (lambda p: replace(p, rules=(p.rules[0], p.rules[0])), ("rules: 'inputs moved'",)),
    "a rule on nothing watched": (pipeline_with(watches=()), ("rule 'volume'", "watches=(ml.Watch('volume', ...),)")),
    "more breaches than ticks": (
        pipeline_with(rules=(ml.Rule("many", "kpi", "alert", breaches=4, of=3),)),
        ("rule 'many': breaches 4", "of=3"),
    ),
    "a KPI of two statements": (part_with("kpi", sql="avg(value); SELECT 1"), ("kpi: sql", "without ;")),
    "a cooldown in the past": (part_with("retraining", cooldown=ml.days(-1)), ("retraining.cooldown",)),
    # where predictions go
    "predictions over a source": (part_with("publish", table="flights"), ("publish.table 'flights'", "overwrite")),
    "predictions to an address": (part_with("publish", connection="sqlite:///x.db"), ("publish.connection is an address",)),
    "predictions to a table that needs quotes": (part_with("publish", table="My Table"), ("publish.table 'My Table'",)),
}


@pytest.mark.parametrize(("change", "told"), RULES.values(), ids=RULES.keys())
def test_is_refused_and_the_message_names_the_field(
    change: Change, told: tuple[str, ...], flights_pipeline: ml.Pipeline
) -> None:
    with pytest.raises(ValidationError) as refused:
        change(flights_pipeline)
    message = str(refused.value)
    for part in told:
        assert part in message


def test_a_wrong_declaration_is_told_every_mistake_at_once(flights_pipeline: ml.Pipeline) -> None:
    with pytest.raises(ValidationError) as refused:
        replace(flights_pipeline, top_share=2.0, task="ranking", gates=())
    assert all(part in str(refused.value) for part in ("top_share", "task 'ranking'", "gates"))


def test_a_password_in_a_connection_is_not_repeated(flights_pipeline: ml.Pipeline) -> None:
    with pytest.raises(ValidationError) as refused:
        table_with("planes", source=ml.Database("postgresql://me:secret@db/x", "planes"))(flights_pipeline)
    assert "secret" not in refused.value.errors()[0]["msg"]


ALLOWED: dict[str, Change] = {
    "a column's name inside a text in SQL": both(
        column_with("flights", "flight_number", personal="drop"),
        added(expression("CASE WHEN dest = 'flight_number' THEN 1 END")),
    ),
    "a semicolon and a bracket inside a text in SQL": added(expression("CASE WHEN dest = ';(' THEN 1 END")),
    "an outcome in the entity's own late column": both(
        without("distance"),
        column_with("flights", "distance", known_at="sched_arr_at"),
        part_with("label", table="flights", sql="distance > 9"),
    ),
    "a moment two days before": pipeline_with(predict_at=AHEAD),
    "windows that only look alike": added(trailing(windows=(ml.days(1), ml.hours(25)))),
    "an address with a plus": pipeline_with(alert_to=("ops+late@mail.example.com",)),
    "one file a tick": table_with("weather", source=ml.Files("drop", "weather/{tick}.csv", "csv")),
}


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED.keys())
def test_is_allowed(change: Change, flights_pipeline: ml.Pipeline) -> None:
    assert change(flights_pipeline)
