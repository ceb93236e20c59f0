"""What code decides by are columns and fields: nothing reads state back from what the ledger says for people."""

import ast
from collections.abc import Iterator

import pytest

from tests.support.paths import REPOSITORY

ROOMS = ("mlprod_tasks", "plugins", "dags", "demo", "benchmarks")
MIGRATIONS = "mlprod_tasks/platform/migrations"  # may read them, to fill the columns of what an earlier release wrote
PROSE = frozenset(("reason", "by", "subject", "fallback_reason", "training_reason", "training_held", "recipients"))
READING = frozenset(
    ("startswith", "endswith", "removeprefix", "removesuffix", "split", "rsplit", "partition", "rpartition", "find", "rfind",
     "index", "count", "like", "ilike", "not_like", "contains", "regexp_match")
)  # fmt: skip
MATCHING = frozenset(("match", "fullmatch", "search", "findall"))  # with the text as an argument
# What has such a name and is no entry of the ledger: what is watched, what is declared, a mail before it is sent.
OTHERS = frozenset(("kind", "KINDS", "fallback", "letter"))


def read_in(code: str) -> Iterator[str]:
    """The expressions that look into a prose column, or compare it with a text."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(func=ast.Attribute(value=receiver, attr=name), args=args) if name in READING | MATCHING:
                if any(_is_prose(part) for part in (receiver, *(args if name in MATCHING else ()))):
                    yield ast.unparse(node)
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[right]) if _is_prose(right):
                yield ast.unparse(node)
            case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
                if any(_is_prose(one) and _is_text(other) for one, other in ((left, right), (right, left))):
                    yield ast.unparse(node)


def _is_prose(node: ast.AST) -> bool:
    """Whether it is a prose column, or made of nothing else: `(scoring.fallback_reason or '')`, `Mail.subject[:4]`."""
    match node:
        case ast.Attribute(value=whose, attr=name):
            return name in PROSE and _name(whose) not in OTHERS
        case ast.BoolOp(values=values):
            return any(map(_is_prose, values))
        case ast.Subscript(value=value) | ast.Call(func=ast.Attribute(value=value)):
            return _is_prose(value)
    return False


def _name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(value=ast.Name(id=name)):
            return name
    return ""


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value != ""


def test_no_code_reads_state_from_what_the_ledger_says_for_people() -> None:
    files = [file for room in ROOMS for file in (REPOSITORY / room).rglob("*.py")]
    assert len(files) > 250
    found = [
        f"{file.relative_to(REPOSITORY)}: {expression}"
        for file in files
        if not file.is_relative_to(REPOSITORY / MIGRATIONS)
        for expression in read_in(file.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        'training.reason.startswith("Retrain: ")',
        '(scoring.fallback_reason or "").startswith(SWITCHED)',
        'one.by.removeprefix("rule ")',
        'Mail.subject.like("%retrain%")',
        'row.subject.partition("/")',
        'one.by == "nobody"',
        '"taken back" in known[-1].reason',
        're.match("Retrain", training.reason)',
        'training.reason.strip().lower().startswith("retrain")',
        'training.reason[:7] == "Retrain"',
    ],
)
def test_what_looks_into_such_a_text_is_found(code: str) -> None:
    assert list(read_in(code)) == [code.replace('"', "'")]


@pytest.mark.parametrize(
    "code", ['f"{one.by}: {one.reason}"', 'one.reason or "unknown"', 'KINDS[what].by == "feature"', "old.reason == new.reason"]
)
def test_what_only_shows_it_is_not(code: str) -> None:
    assert list(read_in(code)) == []
