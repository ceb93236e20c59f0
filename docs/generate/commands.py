"""The reference of the command line, from the typer application itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from docs.generate.markdown import code, table
from mlprod_tasks.cli.main import app


def reference() -> str:
    """A table of all commands, then each with its arguments and options."""
    commands = list(_commands("mlprod", get_command(app)))
    overview = table(
        ("command", "what it does"), [(f"[`{name}`](#{name.replace(' ', '-')})", command.help) for name, command in commands]
    )
    return "\n\n".join([overview, *(_entry(name, command) for name, command in commands)])


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its full name; groups are walked through."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from _commands(f"{path} {name}", child)


def _entry(name: str, command: Any) -> str:
    shown = [parameter for parameter in command.params if parameter.name != "help" and not parameter.hidden]
    parts = [f"### {name}", command.help.strip(), f"```text\n{' '.join([name, *map(_usage, shown)])}\n```"]
    if shown:
        parts.append(table(("argument or option", "default", "meaning"), [_row(one) for one in shown]))
    return "\n\n".join(parts)


def _is_argument(parameter: Any) -> bool:
    return not parameter.opts[0].startswith("-")


def _value(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    return str(parameter.name).upper() if _is_argument(parameter) else "VALUE"


def _usage(parameter: Any) -> str:
    if _is_argument(parameter):
        value = _value(parameter)
        return value if parameter.required or value.startswith("[") else f"[{value}]"
    words = "|".join([*parameter.opts[:1], *parameter.secondary_opts[:1]])
    usage = words if parameter.is_flag else f"{words} {' '.join([_value(parameter)] * parameter.nargs)}"
    return usage if parameter.required else f"[{usage}]"


def _row(parameter: Any) -> tuple[str, str, str]:
    name = _value(parameter) if _is_argument(parameter) else ", ".join([*parameter.opts, *parameter.secondary_opts])
    return code(name), _default(parameter), parameter.help or ""


def _default(parameter: Any) -> str:
    if parameter.required:
        return "*required*"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.default in (None, "", False, ()) or callable(parameter.default):
        return ""
    return code(parameter.default)
