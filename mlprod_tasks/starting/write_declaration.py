"""Write a declaration for a newcomer to read: short, in the order of the way of a row, every guess marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.starting.guess_features import FeatureGuess, Join, numbers
from mlprod_tasks.starting.guess_label import LabelGuess
from mlprod_tasks.starting.guess_tables import ColumnGuess, TableGuess
from mlprod_tasks.starting.guess_windows import WindowGuess
from mlprod_tasks.starting.samples import rows_in_words

WIDTH = 120
MOST_VALUES = 8
SINCE_YEAR, UNTIL_YEAR = 1900, 2100
MARK = "guess: "


def declaration(
    name: str, tables: Sequence[TableGuess], label: LabelGuess, features: FeatureGuess, windows: WindowGuess
) -> str:
    """Python source that declares the use case."""
    lines = list(_head(tables, label, windows))
    for table in tables:
        lines += _table(table, label, features, windows)
    if features.groups:
        lines += _history(label)
    lines += _pipeline(name, tables, label, features, windows)
    return "\n".join(lines) + "\n"


def _head(tables: Sequence[TableGuess], label: LabelGuess, windows: WindowGuess) -> Iterator[str]:
    what = f"What will {label.column.name} be" if label.kind == "number" else f"Will it be that {label.sql}"
    yield f'"""{what}? Asked every {windows.every} for the rows of {label.table.name} of the {windows.every} before.'
    yield ""
    yield "Written by `mlprod init` from"
    yield from (f"- {table.sample.shown}: {rows_in_words(table.sample)}" for table in tables)
    yield ""
    yield f"Lines with `{MARK.strip()}` are guesses: read them first, and correct what is wrong."
    yield '"""'
    yield ""
    yield "from datetime import date, time"
    yield ""
    yield "from mlprod_tasks import declaration as ml"
    yield ""


def _table(table: TableGuess, label: LabelGuess, features: FeatureGuess, windows: WindowGuess) -> Iterator[str]:
    scored = table is label.table
    yield f"{table.name} = ml.Table("
    yield f'    "{table.name}",'
    yield f"    {_source(table)}),"
    yield _said(f"    key={_tuple(table.key)},", f"{table.key_why}", sure=table.key_why.startswith("the database"))
    if table.time:
        yield _said(f'    time="{table.time}",', table.time_why)
    late = [column for column in table.columns if _known_at(column, label if scored else None)]
    if late:
        again = label.delay + 1
        yield _said(f"    refresh_ticks={again},", "read again for that long, since values are filled in later", sure=True)
    if table.time and (windows.has_empty_ticks or not scored):
        yield _said(
            "    may_be_empty=True,",
            f"a {windows.every} may have no rows" if scored else "days without rows are no error",
            sure=True,
        )
    yield "    columns=("
    joined = {name for join in features.joins for pair in join.on for name in pair}
    for column in table.columns:
        yield _column(column, table, label if scored else None, joined)
    for name, why in table.dropped:
        yield f"        # {name!r} is not declared: {why}"
    yield "    ),"
    yield ")"


def _source(table: TableGuess) -> str:
    missing = sorted(set().union(*(column.type.missing for column in table.columns)))
    comma = any(column.type.comma for column in table.columns)
    ways = [column.type.dates for column in table.columns if column.type.dates]
    dates = f', dates="{ways[0]}"' if ways else ""
    more = f"{dates}, missing={_tuple(missing)}" if missing else dates
    return f"{table.sample.source}{more}{', decimal=' + chr(34) + ',' + chr(34) if comma else ''}"


def _known_at(column: ColumnGuess, label: LabelGuess | None) -> str:
    if label is not None and column.name == label.column.name:
        return label.known_at
    return column.known_at


def _column(column: ColumnGuess, table: TableGuess, label: LabelGuess | None, joined: set[str]) -> str:
    kind = "timestamp" if column.name == table.time else column.kind
    parts, whys, facts = [f'"{column.name}"', f'"{kind}"'], list[str](), list[str]()
    if column.type.why:
        whys.append(column.type.why)
    if kind != column.kind:
        whys.append("days, taken as their midnight")
    if column.has_nulls:
        parts.append("nullable=True")
        facts.append(f"{column.profile.null_share:.1%} missing")
    known_at = _known_at(column, label)
    if known_at:
        parts.append(f'known_at="{known_at}"')
        own = column.known_at == known_at
        whys.append(f"missing where {known_at} is" if own else "the outcome is known only then")
    if column.personal:
        parts.append(f'personal="{"hash" if column.name in (*table.key, *joined) else "drop"}"')
        whys.append(f"personal, {column.personal}")
    else:
        parts += _bounds(column)
    if column.name != column.source:
        parts.append(f"source={_quoted(column.source)}")
    return _said(f"        ml.Column({', '.join(parts)}),", "; ".join((*whys, *facts)), sure=not whys)


def _bounds(column: ColumnGuess) -> list[str]:
    """Bounds that data which means the same will keep: signs, years, shares, and a few categories."""
    profile = column.profile
    if column.kind == "text" and profile.top and profile.distinct == len(profile.top) <= MOST_VALUES:
        few = [value for value, n in profile.top if n >= 5]
        return [f"values={_tuple(sorted(few))}"] if len(few) == profile.distinct else []
    if column.kind not in ("int", "float") or profile.least is None or column.is_id:
        return []
    least, most = profile.least, profile.most
    if column.kind == "int" and least >= SINCE_YEAR and most <= UNTIL_YEAR and "year" in column.name:
        return [f"min={SINCE_YEAR}", f"max={UNTIL_YEAR}"]
    if least >= 0 and most <= 1:
        return ["min=0", "max=1"]
    return ["min=0"] if least >= 0 else []


def _pipeline(
    name: str, tables: Sequence[TableGuess], label: LabelGuess, features: FeatureGuess, windows: WindowGuess
) -> Iterator[str]:
    table = label.table
    yield ""
    yield "pipeline = ml.Pipeline("
    yield f'    name="{name}",'
    yield "    doc=__doc__,"
    yield '    alert_to=("you@example.com",),  # who gets mails about failures and alarms: change it'
    ends = f", ends={_date(windows.ends)}" if windows.ends else ""
    every = ', every="week", on="monday"' if windows.every == "week" else ""
    why = (
        "the days of the data; without `ends` once new data arrives every day" if windows.ends else "the first day of the data"
    )
    yield _said(f'    schedule=ml.Schedule(at=time(0), timezone="UTC", starts={_date(windows.starts)}{ends}{every}),', why)
    yield f"    tables=({', '.join(one.name for one in tables)}{',' * (len(tables) == 1)}),"
    yield f'    entity="{table.name}",'
    if label.kind == "number":
        yield '    task="regression",'
    yield "    features=("
    yield from _features(label, features)
    yield "    ),"
    kind = ', kind="number"' if label.kind == "number" else ""
    on = ", ".join(f'"{key}": "{key}"' for key in table.key)
    yield _said(
        f'    label=ml.Label("{table.name}", {{{on}}}, {_quoted(label.sql)}, delay=ml.days({label.delay}){kind}),',
        f"{label.of}; {label.delay_why}",
    )
    window, gap = windows.window, windows.gap
    yield _said(
        f"    split=ml.Split(validation=ml.days({window}), test=ml.days({window}), gap=ml.days({gap})),",
        f"about {window * windows.rows_a_day:,.0f} rows in each window",
    )
    other = "LinearRegression" if label.kind == "number" else "LogisticRegression"
    yield f"    model=ml.Model(candidates=(ml.LightGBM(), ml.{other}())),"
    yield f"    # Gates, fallback, value and monitoring have defaults: `mlprod pipelines {name} --full` prints them."
    yield ")"


def _features(label: LabelGuess, features: FeatureGuess) -> Iterator[str]:
    table = label.table
    for column in features.own:
        sql = _quoted(identifier(column.name))
        yield f'        ml.Expression("{column.name}", {sql}, "{column.kind}", "{_words(column)}"),'
    for name, why in features.left_out:
        yield f"        # {MARK}{name} is left out: {why}, so it is likely known only afterwards"
    moment = identifier(table.time)
    names = {column.name for column in features.own}
    parts = [("weekday", "isodow", "1 Monday to 7 Sunday"), ("hour", "hour", "of the day")]
    if table.column(table.time).kind == "date":
        parts = [("weekday", "isodow", "1 Monday to 7 Sunday"), ("month", "month", "of the year")]
    for called, part, doc in parts:
        if called not in names and not table.has(called):
            sql = _quoted(f"extract({part} FROM {moment})")
            yield f'        ml.Expression("{called}", {sql}, "int", "{doc}"),'
    yield from (f'        history("{column.name}"),' for column in features.groups)
    for join in features.joins:
        yield from _joined(join, label)


def _history(label: LabelGuess) -> Iterator[str]:
    """A function of the written file, which declares the aggregates by one column of the scored table."""
    made = list(_trailing("name", label.table.name, (("name", "name"),), list(_aggregates(label)), label))
    yield ""
    yield ""
    yield "def history(name: str) -> ml.Trailing:"
    yield '    """What became of earlier rows with the same value, as far as it was known."""'
    (line,) = made
    yield f"    return {line.strip().removesuffix(',').replace(chr(34) + 'name' + chr(34), 'name')}"
    yield ""


def _words(column: ColumnGuess) -> str:
    return column.name.replace("_", " ")


def _aggregates(label: LabelGuess) -> Iterator[str]:
    yield "ml.Count()"
    if label.kind == "number":
        yield f'ml.Mean("{label.column.name}")'
    else:
        yield f'ml.Rate("rate", {_quoted(label.sql)})'


def _trailing(
    name: str, table: str, on: Sequence[tuple[str, str]], aggregates: Sequence[str], label: LabelGuess
) -> Iterator[str]:
    by = ", ".join(f'"{mine}": "{theirs}"' for mine, theirs in on)
    # What no column dates is taken as known after the label's delay, here too.
    own = table == label.table.name
    skip = f", skip=ml.days({label.delay})" if own and not label.known_at else ""
    made = f"({', '.join(aggregates)}{',' * (len(aggregates) == 1)})"
    yield f'        ml.Trailing("{name}", "{table}", {{{by}}}, (ml.days(7), ml.days(28)), {made}{skip}),'


def _joined(join: Join, label: LabelGuess) -> Iterator[str]:
    table = join.table
    on = ", ".join(f'"{mine}": "{theirs}"' for mine, theirs in join.on)
    mark = "" if join.how.startswith("the database") else MARK
    yield f"        # {mark}{table.name} joins by {on.replace(chr(34), '')}: {join.how}"
    if table.time:
        sums = [f'ml.Sum("{column.name}")' for column in numbers(table)]
        yield from _trailing(table.name, table.name, join.on, ["ml.Count()", *sums], label)
        return
    taken = {column.name for column in label.table.columns}
    columns = [column for column in table.columns if column.name not in table.key and _may_be_looked_up(column)][:8]
    made = ", ".join(
        f'"{column.name if column.name not in taken else f"{table.name}_{column.name}"}": "{column.name}"' for column in columns
    )
    yield (
        f'        ml.Lookup("{table.name}", {{{on}}}, {{{made}}}),'
        if made
        else f"        # {table.name} has nothing to look up"
    )


def _may_be_looked_up(column: ColumnGuess) -> bool:
    return not column.personal and column.kind in ("int", "float", "text", "bool") and 1 < column.profile.distinct <= 1000


def _said(line: str, why: str, *, sure: bool = False) -> str:
    """A line with its comment; above it where both are too long for one line."""
    if not why:
        return line
    comment = f"# {'' if sure else MARK}{why}"
    if len(line) + len(comment) + 2 <= WIDTH:
        return f"{line}  {comment}"
    indent = line[: len(line) - len(line.lstrip())]
    return f"{indent}{comment}\n{line}"


def _tuple(values: Sequence[str]) -> str:
    inside = ", ".join(map(_quoted, values))
    return f"({inside},)" if len(values) == 1 else f"({inside})"


def _quoted(text: str) -> str:
    return f'"{text}"' if text.isprintable() and not set(text) & {'"', "\\"} else repr(text)


def _date(day: date) -> str:
    return f"date({day.year}, {day.month}, {day.day})"
