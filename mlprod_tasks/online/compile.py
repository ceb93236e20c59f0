"""Compile SQL expressions to Python closures whose results equal DuckDB's bit for bit.

DuckDB gives the type of each part of an expression and the values of its constants; operations on single values are in
duckdb_semantics.py. A construct whose result may differ raises Unsupported, and DuckDB computes the expression.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

from mlprod_tasks.online import duckdb_semantics as v
from mlprod_tasks.online.closures import Row, Run, all_hold, all_of, any_holds, any_of, binary, unary
from mlprod_tasks.online.types import DOUBLE, Types

Combined = Callable[[Sequence[Run]], Run]  # of conditions
MOST_SCALE = 18  # decimals that fit into a DECIMAL together with a BIGINT
ARITHMETIC: dict[type[Any], v.Two] = {exp.Add: operator.add, exp.Sub: operator.sub, exp.Mul: operator.mul}
COMPARISONS: dict[type[Any], tuple[v.Two, v.Two]] = {
    exp.EQ: (operator.eq, v.same), exp.NEQ: (operator.ne, v.different), exp.LT: (operator.lt, v.below),
    exp.LTE: (operator.le, v.below_or_same), exp.GT: (operator.gt, v.above), exp.GTE: (operator.ge, v.above_or_same),
}  # fmt: skip
PARTS: dict[type[Any], str] = {
    exp.Hour: "hour", exp.Minute: "minute", exp.Second: "second", exp.Day: "day", exp.Month: "month", exp.Year: "year",
    exp.Quarter: "quarter",
}  # fmt: skip
CONSTANT = (exp.Literal, exp.Neg, exp.Paren, exp.Boolean, exp.Null, exp.Interval, exp.Cast, exp.DataType, exp.Var, exp.Add,
            exp.Sub, exp.Mul, exp.Div)  # fmt: skip
ORDERED = ("VARCHAR", "BOOLEAN", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "DATE")
MOMENTS = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


class Unsupported(Exception):
    """A construct that DuckDB must compute; the message says which."""


@dataclass(frozen=True)
class CompiledPart:
    """A part of an expression: its DuckDB type and the function that computes it.

    constant: it reads no column.
    """

    node: exp.Expr
    type: str
    run: Run
    constant: bool = False


def compiled(sql: str, wanted: str, types: Types) -> Run:
    """Compile CAST(sql AS wanted) to a function of a row. Raises: Unsupported."""
    try:
        node = parse_one(sql, dialect="duckdb")
    except SqlglotError as error:
        raise Unsupported(f"sqlglot cannot read it: {error}") from error
    if types.of(sql) != types.of(node.sql(dialect="duckdb")):
        raise Unsupported("sqlglot parses it differently from DuckDB")
    return _Compiler(types).cast(_Compiler(types).part(node), wanted).run


class _Compiler:
    def __init__(self, types: Types) -> None:
        self._types = types

    def part(self, node: exp.Expr) -> CompiledPart:
        """Compile a node with all below it. Raises: Unsupported."""
        if isinstance(node, exp.Paren):
            return self.part(node.this)
        if isinstance(node, exp.Column):
            return self._column(node)
        text = node.sql(dialect="duckdb")
        if all(isinstance(below, CONSTANT) for below in node.walk()):
            return self._constant(node, text)
        result_type = self._types.of(text)
        if type(node) is exp.Cast:
            return self.cast(self.part(node.this), result_type)
        run = self._operator(node, result_type) or self._condition(node) or self._function(node, result_type)
        if run is None:
            raise Unsupported(f"{node.key} in {text}")
        return CompiledPart(node, result_type, run)

    def _operator(self, node: exp.Expr, result_type: str) -> Run | None:
        """The function of an arithmetic operation; None for any other node."""
        match node:
            case exp.Add() | exp.Sub() | exp.Mul() | exp.Div() | exp.IntDiv() | exp.Mod():
                return self._arithmetic(node, result_type)
            case exp.Neg():
                return self._numeric(node.this, result_type, operator.neg)
            case exp.Abs():
                return self._numeric(node.this, result_type, abs)
            case exp.Round() | exp.Floor() | exp.Ceil() | exp.Sqrt():
                return self._rounding(node, result_type)
        return None

    def _condition(self, node: exp.Expr) -> Run | None:
        """The function of a comparison or logical operation; None for any other node."""
        match node:
            case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
                return self._comparison(type(node), node.this, node.expression)
            case exp.NullSafeEQ() | exp.NullSafeNEQ():
                return self._distinct(node)
            case exp.Between():
                return self._between(node)
            case exp.In():
                return self._in(node)
            case exp.And() | exp.Or():
                return self._logical(node)
            case exp.Not():
                return unary(self._boolean(node.this), operator.not_)
            case exp.Is() if isinstance(node.expression, exp.Null):
                of = self.part(node.this).run
                return lambda row: of(row) is None
        return None

    def _function(self, node: exp.Expr, result_type: str) -> Run | None:
        """The function of a CASE, a function on values or a part of a time.

        Returns None for any other node.
        """
        match node:
            case exp.Case() | exp.If():
                return self._case(node, result_type)
            case exp.Coalesce():
                return self._coalesce([node.this, *node.expressions], result_type)
            case exp.Nullif():
                return self._nullif(node)
            case exp.Greatest() | exp.Least():
                return self._extreme(node, result_type)
            case exp.Extract():
                return self._extract(str(node.this).lower(), node.expression)
            case exp.TimeToUnix():
                return self._extract("epoch", node.this)
            case exp.Anonymous() if str(node.this).lower() == "timezone" and len(node.expressions) == 2:
                return self._timezone(*node.expressions)
            case exp.AtTimeZone():
                return self._timezone(node.args["zone"], node.this)
        name = next((name for kind, name in PARTS.items() if isinstance(node, kind)), None)
        return None if name is None else self._extract(name, node.this)

    def _column(self, node: exp.Column) -> CompiledPart:
        name = node.name.lower()
        if node.table or name not in self._types.columns:
            raise Unsupported(f"{node.sql(dialect='duckdb')} is not a known column")
        return CompiledPart(node, self._types.columns[name], operator.itemgetter(name))

    def _constant(self, node: exp.Expr, text: str) -> CompiledPart:
        kind = self._types.of(text)
        value = self._types.constant(text, kind)
        return CompiledPart(node, kind, lambda row: value, constant=True)

    def cast(self, part: CompiledPart, wanted: str) -> CompiledPart:
        """Convert a part to another type, as CAST does."""
        if part.type == wanted:
            return part
        if part.constant:
            value = self._types.constant(f"CAST({part.node.sql(dialect='duckdb')} AS {wanted})", wanted)
            return CompiledPart(part.node, wanted, lambda row: value)
        came, to_int = part.type, wanted in v.RANGES
        to: v.One
        match came:
            case _ if came in v.RANGES and to_int:
                to = v.within(wanted)
            case _ if came in v.RANGES and wanted == DOUBLE and came != "HUGEINT":
                to = float
            case _ if came in v.RANGES and wanted == "BOOLEAN":
                to = bool
            case _ if came in v.RANGES and wanted == "VARCHAR":
                to = str
            case "DOUBLE" if to_int and wanted != "HUGEINT":
                to = v.to_integer(wanted)
            case "DOUBLE" if wanted == "BOOLEAN":
                to = bool
            case "BOOLEAN" if to_int:
                to = int
            case "BOOLEAN" if wanted == DOUBLE:
                to = float
            case _ if came in MOMENTS and wanted == "DATE":
                to = v.day_of
            case _:
                raise Unsupported(f"CAST from {came} to {wanted}")
        return CompiledPart(part.node, wanted, unary(part.run, to))

    def _arithmetic(self, node: exp.Expr, result_type: str) -> Run:
        left, right = self.part(node.this), self.part(node.expression)
        numbers = all(side.type in v.RANGES or side.type == DOUBLE or (side.constant) for side in (left, right))
        if numbers and result_type == DOUBLE and isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div):
            operation = v.divided if isinstance(node, exp.Div) else ARITHMETIC[type(node)]
            return binary(self.cast(left, DOUBLE).run, self.cast(right, DOUBLE).run, operation)
        if result_type in v.RANGES and left.type in v.RANGES and right.type in v.RANGES and not isinstance(node, exp.Div):
            if isinstance(node, exp.IntDiv | exp.Mod):
                whole = v.checked(v.whole_divided, result_type) if isinstance(node, exp.IntDiv) else v.remainder(result_type)
                return binary(left.run, right.run, whole)
            return binary(left.run, right.run, v.checked(ARITHMETIC[type(node)], result_type))
        if isinstance(node, exp.Sub) and left.type == right.type and left.type in MOMENTS and result_type == "INTERVAL":
            return binary(left.run, right.run, v.between_moments)
        if isinstance(node, exp.Sub) and left.type == right.type == "DATE" and result_type in v.RANGES:
            return binary(left.run, right.run, operator.sub)
        if left.type in MOMENTS and right.type == "INTERVAL" and right.constant and result_type == left.type:
            return self._moved(left, right, -1 if isinstance(node, exp.Sub) else 1)
        raise Unsupported(f"{node.key} of {left.type} and {right.type}")

    def _moved(self, moment: CompiledPart, interval: CompiledPart, sign: int) -> Run:
        months, days, us = interval.run({})
        if months or abs(days) > 100_000 or abs(us) > 100_000 * v.DAY:
            raise Unsupported(f"adding {interval.node.sql(dialect='duckdb')} to a time")
        by = sign * (days * v.DAY + us)
        return unary(moment.run, lambda x: x + by)

    def _numeric(self, node: exp.Expr, result_type: str, operation: v.One) -> Run:
        of = self.part(node)
        if of.type == result_type == DOUBLE:
            return unary(of.run, operation)
        if of.type in v.RANGES and result_type in v.RANGES:
            check = v.within(result_type)
            return unary(of.run, lambda x: check(operation(x)))
        raise Unsupported(f"{operation.__name__} of {of.type}")

    def _same_type(self, parts: Sequence[CompiledPart]) -> tuple[str, list[Run]]:
        """The type in which DuckDB compares the parts, and the functions that give them in this type."""
        kinds = {part.type for part in parts if part.type != "NULL"}
        fixed = {part.type for part in parts if not part.constant and part.type != "NULL"}
        if kinds <= set(v.RANGES):
            return "BIGINT", [part.run for part in parts]
        if DOUBLE in kinds and all(kind in v.RANGES or kind == DOUBLE or kind.startswith("DECIMAL") for kind in kinds):
            return DOUBLE, [self.cast(part, DOUBLE).run for part in parts]
        if len(kinds) == 1 and kinds <= set(ORDERED):
            return kinds.pop(), [part.run for part in parts]
        literals = all(isinstance(part.node, exp.Literal) for part in parts if part.constant)
        if len(fixed) == 1 and kinds == fixed | {"VARCHAR"} and literals:
            (kind,) = fixed  # DuckDB reads a text literal in the type that it is compared with
            if kind in ORDERED or kind in v.RANGES:
                return kind, [self.cast(part, kind).run for part in parts]
        if fixed <= set(v.RANGES) and all(self._exact(part) for part in parts):
            return "BIGINT", [part.run for part in parts]
        raise Unsupported(f"comparing {', '.join(sorted(kinds))}")

    def _exact(self, part: CompiledPart) -> bool:
        """Whether the part is an integer, or a decimal constant that Python compares with integers exactly."""
        if not part.constant or not part.type.startswith("DECIMAL"):
            return part.type in v.RANGES and part.type != "HUGEINT"
        value = part.run({})
        return isinstance(value, Decimal) and -MOST_SCALE <= int(value.as_tuple().exponent) <= 0 and abs(value) < 2**60

    def _comparison(self, kind: type[exp.Expr], left: exp.Expr, right: exp.Expr) -> Run:
        type_, (x, y) = self._same_type([self.part(left), self.part(right)])
        exact, floating = COMPARISONS[kind]
        return binary(x, y, floating if type_ == DOUBLE else exact)

    def _distinct(self, node: exp.Expr) -> Run:
        type_, (x, y) = self._same_type([self.part(node.this), self.part(node.expression)])
        equal = v.same if type_ == DOUBLE else operator.eq
        wanted = isinstance(node, exp.NullSafeEQ)

        def run(row: Row) -> bool:
            a, b = x(row), y(row)
            same = (a is None and b is None) if a is None or b is None else equal(a, b)
            return bool(same) is wanted

        return run

    def _between(self, node: exp.Between, combined: Combined = all_of) -> Run:
        if node.args.get("symmetric"):
            raise Unsupported("BETWEEN SYMMETRIC")
        parts = [self.part(one) for one in (node.this, node.args["low"], node.args["high"])]
        type_, (x, low, high) = self._same_type(parts)
        at_least = v.above_or_same if type_ == DOUBLE else operator.ge
        return combined([binary(x, low, at_least), binary(high, x, at_least)])

    def _in(self, node: exp.In, combined: Combined = any_of) -> Run:
        if not node.expressions or node.args.get("query") or node.args.get("unnest"):
            raise Unsupported("IN with something other than a list")
        type_, (x, *items) = self._same_type([self.part(one) for one in (node.this, *node.expressions)])
        equal = v.same if type_ == DOUBLE else operator.eq
        return combined([binary(x, item, equal) for item in items])

    def _boolean(self, node: exp.Expr) -> Run:
        part = self.part(node)
        if part.type not in ("BOOLEAN", "NULL"):
            raise Unsupported(f"a condition of type {part.type}")
        return part.run

    def _logical(self, node: exp.Expr) -> Run:
        sides = [self._boolean(node.this), self._boolean(node.expression)]
        return all_of(sides) if isinstance(node, exp.And) else any_of(sides)

    def _holds(self, node: exp.Expr) -> Run:
        """The function of a condition that chooses, as in a CASE: DuckDB computes no more of it than it needs to choose."""
        match node:
            case exp.Paren():
                return self._holds(node.this)
            case exp.And():
                return all_hold([self._holds(node.this), self._holds(node.expression)])
            case exp.Or():
                return any_holds([self._holds(node.this), self._holds(node.expression)])
            case exp.Between():
                return self._between(node, all_hold)
            case exp.In():
                return self._in(node, any_holds)
        return self._boolean(node)

    def _case(self, node: exp.Expr, result_type: str) -> Run:
        if isinstance(node, exp.Case) and node.this is not None:
            raise Unsupported("CASE with a value to compare")
        ifs = node.args["ifs"] if isinstance(node, exp.Case) else [node]
        otherwise = node.args.get("default" if isinstance(node, exp.Case) else "false")
        branches = [(self._holds(one.this), self._as(one.args["true"], result_type)) for one in ifs]
        last = (lambda row: None) if otherwise is None else self._as(otherwise, result_type)

        def run(row: Row) -> Any:
            for holds, value in branches:
                if holds(row):
                    return value(row)
            return last(row)

        return run

    def _as(self, node: exp.Expr, wanted: str) -> Run:
        part = self.part(node)
        return part.run if part.type == "NULL" else self.cast(part, wanted).run

    def _coalesce(self, nodes: Sequence[exp.Expr], result_type: str) -> Run:
        runs = [self._as(node, result_type) for node in nodes]

        def run(row: Row) -> Any:
            for of in runs:
                value = of(row)
                if value is not None:
                    return value
            return None

        return run

    def _nullif(self, node: exp.Nullif) -> Run:
        type_, (x, y) = self._same_type([self.part(node.this), self.part(node.expression)])
        if type_ != self._types.of(node.sql(dialect="duckdb")):
            raise Unsupported("NULLIF with two different types")
        equal = binary(x, y, v.same if type_ == DOUBLE else operator.eq)
        return lambda row: None if equal(row) else x(row)

    def _extreme(self, node: exp.Expr, result_type: str) -> Run:
        if result_type not in v.RANGES and result_type not in (DOUBLE, *MOMENTS, "DATE"):
            raise Unsupported(f"{node.key} of {result_type}")
        runs = [self._as(one, result_type) for one in (node.this, *node.expressions)]
        above = v.above if result_type == DOUBLE else operator.gt
        most = isinstance(node, exp.Greatest)

        def run(row: Row) -> Any:
            best = None
            for of in runs:
                value = of(row)
                if value is not None and (best is None or (above(value, best) if most else above(best, value))):
                    best = value
            return best

        return run

    def _rounding(self, node: exp.Expr, result_type: str) -> Run:
        if node.args.get("decimals") is not None or node.args.get("to") is not None:
            raise Unsupported(f"{node.key} to a number of decimals")
        of = self.part(node.this)
        if result_type in v.RANGES and of.type == result_type and not isinstance(node, exp.Sqrt):
            return of.run
        if result_type != DOUBLE:
            raise Unsupported(f"{node.key} of {of.type}")
        kinds: dict[type[Any], v.One] = {exp.Round: v.rounded, exp.Floor: v.floored, exp.Ceil: v.ceiled, exp.Sqrt: v.root}
        return unary(self.cast(of, DOUBLE).run, kinds[type(node)])

    def _extract(self, name: str, node: exp.Expr) -> Run:
        of = self.part(node)
        if name == "epoch":
            if of.type == "INTERVAL":
                return unary(of.run, v.epoch_of_interval)
            if of.type in MOMENTS:
                return unary(of.run, v.epoch_of_local if of.type == "TIMESTAMP" else v.epoch_of)
        elif name in v.PARTS and of.type in MOMENTS:
            return unary(of.run, v.PARTS[name])
        elif name in v.PARTS and of.type == "DATE" and name not in ("hour", "minute", "second"):
            part = v.PARTS[name]
            return unary(of.run, lambda day: part(day * v.DAY))
        raise Unsupported(f"extract {name} of {of.type}")

    def _timezone(self, zone: exp.Expr, moment: exp.Expr) -> Run:
        of = self.part(moment)
        if not isinstance(zone, exp.Literal) or of.type != "TIMESTAMP WITH TIME ZONE":
            raise Unsupported(f"time zone of {of.type}")
        return unary(of.run, v.local(*self._types.zone(str(zone.this))))
