"""What is wrong with a declaration, in sentences: the class, the field, the value, what was meant, what to write."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from pydantic import ValidationError

from mlprod_tasks.declaration.declared import CLASSES, FIELDS, DeclarationError
from mlprod_tasks.declaration.meant import class_meant, field_meant, value_meant
from mlprod_tasks.declaration.places import Places

LONGEST_GIVEN = 100
CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::\d{2})?")
SPAN = re.compile(r"(\d+) ?(h|d|w)\w*")
NO_TABLES = dict.fromkeys(("excel", "xlsx", "xls"), "save each sheet as CSV")
DAY = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")


def refusal(shown: str, error: Exception, line: int | None, text: str) -> str:
    """All problems of a file, each with the line of its part, after the file's name.

    shown: the file's name. line: where the error was raised. text: of the file.
    """
    problems = list(_problems(error, line, Places(text)))
    (first, said), *others = problems
    at = "" if first is None else f":{first}"
    rest = [f"{'' if number in (None, first) else f'line {number}: '}{sentence}" for number, sentence in others]
    return "; ".join([f"{shown}{at}: {said}", *rest])


def sentences(error: Exception) -> str:
    """All problems of a part that is declared outside of a file."""
    return "; ".join(sentence.removeprefix("Pipeline: ") for _, sentence in _problems(error, None, Places("")))


def _problems(error: Exception, line: int | None, places: Places) -> Iterator[tuple[int | None, str]]:
    """The line and the sentence of each problem."""
    if isinstance(error, DeclarationError):
        yield from _of_pipeline(error, line, places)
        return
    if not isinstance(error, ValidationError):
        yield line, f"{type(error).__name__}: {error}{_remedy(error)}"
        return
    problems = error.errors(include_url=False)
    choices: dict[str, list[Any]] = defaultdict(list)  # if several classes are allowed: the problems of each
    misspelt = {_field_meant(error.title, one) for one in problems}
    for problem in problems:
        where, location = _where(error.title, problem["loc"]), problem["loc"]
        of_pipeline = problem.get("ctx", {}).get("error")
        if isinstance(of_pipeline, DeclarationError):
            yield from _of_pipeline(of_pipeline, line, places)
        elif problem["type"] in ("dataclass_exact_type", "string_type") and _is_choice(problem, problems):
            choices[where.rpartition(".")[0]].append(problem)
        elif problem["type"] != "missing" or location[-1] not in misspelt:
            at = places.of_field(error.title, line, location) if line else None
            yield at or line, f"{where}: {_problem(error.title, problem)}"
    for where, tried in choices.items():
        at = places.of_field(error.title, line, tried[0]["loc"]) if line else None
        yield at or line, f"{where}: {_no_choice(tried)}"


def _of_pipeline(error: DeclarationError, line: int | None, places: Places) -> Iterator[tuple[int | None, str]]:
    """The broken rules between the parts of a declaration."""
    for number, sentence in enumerate(error.problems):
        yield places.of_sentence(sentence) or line, sentence if number else f"Pipeline: {sentence}"


def _is_choice(problem: Any, problems: list[Any]) -> bool:
    """Whether a problem is one of several classes that a field may have."""
    if problem["type"] == "string_type":
        beside = [one for one in problems if one["loc"][:-1] == problem["loc"][:-1] and one is not problem]
        return problem["loc"][-1] == "str" and any(one["type"] == "dataclass_exact_type" for one in beside)
    return bool(problem["loc"][-1] == problem["ctx"]["class_name"])


def _no_choice(problems: list[Any]) -> str:
    classes = [problem["ctx"]["class_name"] for problem in problems if problem["type"] != "string_type"]
    given = problems[0]["input"]
    text = ["a name in quotes"] if len(classes) < len(problems) else []
    said = f"Input should be one of {', '.join([*text, *classes])}{_given(problems[0])}"
    if "Estimator" in classes and hasattr(given, "get_params"):
        return f"{said}; one of your own is named by where it is made, as in Estimator('our_models:make')"
    if isinstance(given, type) and given.__name__ in classes:
        return f"{said}; write {given.__name__}(...), with brackets"
    if text and hasattr(given, "name"):
        return f"{said}; write its name, {given.name!r}"
    meant = class_meant(given, classes) if isinstance(given, str) else None
    return f"{said}; did you mean {meant}(...)?" if meant else said


def _where(declared: str, location: tuple[int | str, ...]) -> str:
    """The class and the field, such as 'Column.kind', even if the field was given by its position."""
    names = FIELDS.get(declared, ())
    parts = [str(part) for part in location]
    if location and isinstance(location[0], int) and location[0] < len(names):
        parts[0] = names[location[0]]
    return ".".join([declared, *parts])


def _field_meant(declared: str, problem: Any) -> str | None:
    if problem["type"] != "unexpected_keyword_argument":
        return None
    return field_meant(str(problem["loc"][-1]), FIELDS.get(declared, ()))


def _problem(declared: str, problem: Any) -> str:
    given, said = problem["input"], f"{problem['msg']}{_given(problem)}"
    match problem["type"]:
        case "value_error":
            return str(problem["msg"].removeprefix("Value error, "))
        case "missing":
            return "is missing"
        case "unexpected_keyword_argument":
            meant = _field_meant(declared, problem)
            remedy = f"did you mean {meant!r}?" if meant else f"fields are {', '.join(FIELDS.get(declared, ()))}"
            return f"no such field{_given(problem)}; {remedy}"
        case "tuple_type":
            meant = class_meant(given, CLASSES) if isinstance(given, str) and problem["loc"][-1] == "candidates" else None
            return f"{said}; write ({meant}(),)" if meant else f"{said}; {_brackets(given)}"
        case "time_delta_type":
            return f"{said}; {_duration(given)}"
        case "literal_error":
            given = given.__name__ if isinstance(given, type) else given
            meant = value_meant(given, re.findall(r"'([^']*)'", problem["ctx"]["expected"]))
            return (
                f"{said}; {NO_TABLES[given]}" if given in NO_TABLES else f"{said}; did you mean {meant!r}?" if meant else said
            )
        case "bool_type" | "bool_parsing":
            return f"{said}; write True or False, without quotes"
        case "string_type" if hasattr(given, "name"):
            return f"{said}; write its name, {given.name!r}"
        case "string_type" if callable(given):
            return f"{said}; write SQL, in quotes: it runs in the engine, over all rows"
        case "dataclass_type" | "dataclass_exact_type" if isinstance(given, str):
            return f"{said}; a part that is declared above is named without quotes"
        case "dict_type":
            return f"{said}; write pairs in curly brackets, as {{'name': 'name'}}"
        case kind if kind.startswith("time_"):
            return f"{said}; {_clock(given)}"
        case kind if kind.startswith("date_"):
            return f"{said}; {_day(given)}"
    return said


def _brackets(given: object) -> str:
    if isinstance(given, str):
        return f"a tuple of one is written ({given!r},)"
    if isinstance(given, list | set | frozenset | dict):
        return "write it in round brackets"
    return "write it in round brackets; a tuple of one has a comma at its end, as in (one,)"


def _duration(given: object) -> str:
    if isinstance(given, int) and not isinstance(given, bool):
        return f"write days(...) or hours(...), as in days({given})"
    if isinstance(given, str) and (read := SPAN.fullmatch(given.strip())):
        number, unit = int(read[1]), read[2]
        return f"write {f'days({7 * number})' if unit == 'w' else f'days({number})' if unit == 'd' else f'hours({number})'}"
    if isinstance(given, float) and 0 < given < 1:
        return "write a span of time, as in days(14); shares are for tables without a time, as in SplitByHash(test=0.2)"
    return "write days(...) or hours(...), as in days(14)"


def _clock(given: object) -> str:
    """How to write a time of day."""
    read = CLOCK.fullmatch(str(given).strip())
    if read is None:
        return "write time(4) for four o'clock"
    hour, minute = int(read[1]), int(read[2] or 0)
    return f"write time({hour}{f', {minute}' if minute else ''}), from datetime import time"


def _day(given: object) -> str:
    """How to write a date."""
    read = DAY.match(given.isoformat() if isinstance(given, date | datetime) else str(given))
    if read is None:
        return "write date(2024, 1, 31), from datetime import date"
    return f"write date({', '.join(str(int(part)) for part in read.groups())}), from datetime import date"


def _given(problem: Any) -> str:
    shown = repr(problem["input"])
    return f", given {shown if len(shown) <= LONGEST_GIVEN else shown[:LONGEST_GIVEN] + '...'}"


def _remedy(error: Exception) -> str:
    """What there is instead of a name that this package does not have."""
    if isinstance(error, NameError) and error.name == "ml":
        return ". Write at the top: from mlprod_tasks import declaration as ml"
    if isinstance(error, ImportError) and (error.name or "").startswith("mlprod_tasks"):
        return ". Write: from mlprod_tasks import declaration as ml"
    if not isinstance(error, AttributeError) or getattr(error.obj, "__name__", "") != "mlprod_tasks.declaration":
        return ""
    exported: tuple[str, ...] = getattr(error.obj, "__all__", ())
    names = [name for name in exported if name in CLASSES or name.islower() or name.isupper()]
    meant = class_meant(str(error.name), names)
    return f"; did you mean ml.{meant}?" if meant else f"; there are {', '.join(names)}"
