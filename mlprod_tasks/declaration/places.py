"""Where in a pipeline file the part stands that a problem is about. Read from the file's text, after it was refused."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from mlprod_tasks.declaration.declared import CLASSES, FIELDS

# A part of a problem's sentence: what it is, and its name. "table 'parcels'", "gate AtLeast('roc_auc')", "Lookup 'trucks'".
NAMED = re.compile(r"\b([A-Za-z]+)(?: |\()'([^']+)'")
PARTS = {
    "table": ("Table",), "column": ("Column",), "watch": ("Watch",), "rule": ("Rule",), "Population": ("Population",),
    "feature": ("Expression", "Lookup", "AsOf", "Trailing"),
}  # fmt: skip
FIELD = re.compile(r"([a-z_]+)(?:\.([a-z_]+))?\b")


class Places:
    """The calls of a pipeline file, by line.

    A file that cannot be parsed has none.
    """

    def __init__(self, text: str) -> None:
        try:
            self._tree: ast.Module = ast.parse(text)
        except (SyntaxError, ValueError):
            self._tree = ast.Module([], [])
        self._assigned = {
            target.id: node.value
            for node in self._tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def of_field(self, declared: str, line: int, location: Sequence[int | str]) -> int | None:
        """The line of a field's value in the call of a class at a line; None if it is not given there."""
        for call in _calls(self._tree, (declared,)):
            if call.lineno <= line <= (call.end_lineno or call.lineno):
                value: ast.expr | None = _argument(call, declared, location[0]) if location else None
                for part in location[1:]:
                    inside = value.elts if isinstance(value, ast.Tuple | ast.List) else []
                    value = inside[part] if isinstance(part, int) and part < len(inside) else value
                return None if value is None else value.lineno
        return None

    def of_sentence(self, sentence: str) -> int | None:
        """The line of the part that a problem of a whole pipeline begins with."""
        return self._named(sentence) or self._field(sentence)

    def _named(self, sentence: str) -> int | None:
        found: ast.AST | None = None
        for what, name in NAMED.findall(sentence):
            kinds = PARTS.get(what) or ((what,) if what in CLASSES else ())
            inside = [call for call in _calls(found or self._tree, kinds) if name in _texts(call, kinds)]
            if kinds and not inside and found is None:  # a team's own function may make it
                own = (call for call in _calls(self._tree) if _called(call) not in CLASSES)
                inside = [call for call in own if name in _texts(call, kinds)]
            found = next(iter(inside), found)
        return found.lineno if isinstance(found, ast.Call) else None

    def _field(self, sentence: str) -> int | None:
        called = FIELD.match(sentence)
        for call in _calls(self._tree, ("Pipeline",)):
            value = _argument(call, "Pipeline", called[1]) if called else None
            if value is None or called is None:
                continue
            if isinstance(value, ast.Name):
                value = self._assigned.get(value.id, value)
            inner = None
            if called[2] and isinstance(value, ast.Call):
                inner = next((one.value for one in value.keywords if one.arg == called[2]), None)
            return (inner or value).lineno
        return None


def _calls(tree: ast.AST, names: Sequence[str] | None = None) -> Iterator[ast.Call]:
    """The calls of these classes (None: all calls), as `ml.Name(...)` or `Name(...)`, innermost last."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (names is None or _called(node) in names):
            yield node


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _argument(call: ast.Call, declared: str, field: int | str) -> ast.expr | None:
    """What the call gives for a field, by name or by position."""
    names = FIELDS.get(declared, ())
    position = field if isinstance(field, int) else names.index(field) if field in names else len(call.args)
    if position < len(call.args):
        return call.args[position]
    name = names[field] if isinstance(field, int) and field < len(names) else field
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _texts(call: ast.Call, kinds: Sequence[str]) -> set[str]:
    """The texts by which a problem may name a call: its first one, of a look-up the features that it gives."""
    names = {"name", "metric", "what", "table"}
    first = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg in names)]
    if {"Lookup", "AsOf"} & set(kinds):
        first = [node for node in ast.walk(call) if isinstance(node, ast.expr)]
    return {node.value for node in first if isinstance(node, ast.Constant) and isinstance(node.value, str)}
