"""The mail about a challenger that was taken back."""

from __future__ import annotations

from collections.abc import Sequence

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.documents.mail_content import Content, Grid
from mlprod_tasks.notifications.events import send
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import MailAbout, RampStep, Rollout, RolloutCheck
from mlprod_tasks.promotion import history
from mlprod_tasks.rollout.state import percent
from mlprod_tasks.rollout.task_checks import check_names

KIND = "ramp"
BOUNDS = {
    "errors": "at most {} more",
    "latency": "at most {} times the champion's",
    "scores": "differ by at most {}",
    "quality": "not worse",
    "overtaken": "",
}


def tell_taken_back(
    pipeline: Pipeline, known: Sequence[Rollout], platform: Platform, links: Sequence[tuple[str, str]] = ()
) -> bool:
    """Mail once why the newest rollout took a challenger back. Returns whether a mail was sent."""
    taken, last = known[-1], next(one for one in reversed(known) if one.challenger is not None)
    c = RolloutCheck
    begun = next((one.at for one in reversed(known) if one.ramp is RampStep.BEGUN), last.at)
    checks = platform.ledger.all(c, c.at >= begun, c.at <= taken.at, pipeline=pipeline.name, challenger=last.challenger)
    failed = [one for one in checks if one.passed is False]
    promoted = history.promotions(pipeline, platform)
    who_answers = f"The champion, version {promoted[-1].model_version}," if promoted else "The fallback"
    since = f"{last.at:%Y-%m-%d %H:%M} UTC"
    what_it_did = f"It answered {percent(last.share)} of entities" if last.share else "It scored as a shadow"
    content = Content(
        subject=f"[{pipeline.name}] version {last.challenger} was taken back at {percent(last.share)} of entities",
        headline=f"Version {last.challenger} of {pipeline.name} was taken back; the champion answers everything again.",
        paragraphs=(
            f"{what_it_did} from {since} on.",
            f"At {taken.at:%Y-%m-%d %H:%M} UTC it was {taken.reason} ({taken.by}).",
            *(one.sentence for one in failed),
            f"{who_answers} answers on all replicas again within seconds; you need not do anything. To try version "
            f"{last.challenger} again, start the DAG {pipeline.name}.rollout, or run `mlprod ramp {pipeline.name} --challenger "
            f"{last.challenger} --by NAME`.",
        ),
        grids=(_check_grid(checks, check_names(pipeline)),) if checks else (),
        links=tuple(links),
    )
    key = f"{pipeline.name}/ramp/{last.challenger}/taken back/{taken.at.isoformat()}"
    return send(pipeline, MailAbout.ROLLOUT, key, content, platform, kind=KIND)


def _check_grid(checks: Sequence[RolloutCheck], names: dict[str, str]) -> Grid:
    ordered = sorted(checks, key=lambda one: (one.share, one.at, list(names).index(one.what) if one.what in names else 9))
    rows = tuple(
        (
            _verdict(one), percent(one.share), names.get(one.what, one.what), _number(one.champion_value),
            _number(one.challenger_value), BOUNDS.get(one.what, "at least {}").format(_number(one.bound)),
        )
        for one in ordered
    )  # fmt: skip
    bad = frozenset(i for i, one in enumerate(ordered) if one.passed is False)
    return Grid("Results of the checks", ("verdict", "share", "what", "champion", "challenger", "bound"), rows, bad)


def _verdict(one: RolloutCheck) -> str:
    return {True: "passed", False: "FAILED", None: "too few rows"}[one.passed]


def _number(value: float | None) -> str:
    return "not known" if value is None else format_number(value)
