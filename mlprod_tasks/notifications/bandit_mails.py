"""The mail about a bandit that ended."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from mlprod_tasks.bandits.cost import cost_of
from mlprod_tasks.bandits.follow import ENDINGS
from mlprod_tasks.bandits.run import Plan, every, plan_of
from mlprod_tasks.bandits.state import at_version, recorded
from mlprod_tasks.bandits.told import Arm, arms_of, choice, cost_told
from mlprod_tasks.bandits.untold import untold
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import day_or_moment
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.documents.mail_content import Content, Grid
from mlprod_tasks.notifications.events import send
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.bandit_entries import BanditRun, BanditState
from mlprod_tasks.platform.ledger import MailAbout

NEXT = {
    True: "The champion scores all rows, without actions, from the next tick on. Act by yourself on what earns most.",
    False: "The champion answers all rows from the next tick on. Nothing was promoted by itself: roll out what earns most.",
}
COLORS = ("#2b5c8a", "#d08a2e", "#4f8a5b", "#8a4f7d", "#8a8a8a", "#b8c4d0")


def tell_bandits(pipeline: Pipeline, platform: Platform, links: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Mail which bandits ended, and what they found, each once. Returns the names of those that were told of."""
    if pipeline.experiments is None:
        return []
    ended = [run for run in every(pipeline, platform) if run.ended is not None]
    return [run.name for run in ended if _tell(pipeline, run, platform, links)]


def _tell(pipeline: Pipeline, run: BanditRun, platform: Platform, links: Sequence[tuple[str, str]]) -> bool:
    plan, states = plan_of(run), recorded(pipeline, run, platform)
    by = "" if run.ended_by in ENDINGS else f"{run.ended_by} stopped it"
    why = ": ".join(part for part in (by, run.end_reason) if part)
    read = f"It knows the rewards of {states[0].through} to {states[-1].through}." if states else "No reward was complete."
    first = f"{why[:1].upper()}{why[1:]}."
    content = Content(
        subject=f"[{pipeline.name}] bandit {run.name}: ended",
        headline=f"Bandit {run.name} of {pipeline.name} ended.",
        paragraphs=(
            first,
            f"{read} Units were shared by {choice(plan)}, rewarded by {plan.bandit.reward}.",
            *(one for one in _cost(plan, states) if one != first),
            NEXT[plan.acts],
        ),
        grids=(_grid(arms_of(run, states)),),
        picture=_picture(plan.arms, states),
        links=tuple(links),
    )
    return send(
        pipeline, MailAbout.EXPERIMENT, f"{pipeline.name}/bandit/{run.name}", content, platform, tick=str(run.ended),
        topic=run.name,
    )  # fmt: skip


def _cost(plan: Plan, states: Sequence[BanditState]) -> tuple[str, ...]:
    """What choosing cost, as a sentence, or why rewards tell nothing; nothing if too little is known."""
    if (why := untold(plan.bandit.reward, [state.rewards for state in states])) is not None:
        return (f"{why[:1].upper()}{why[1:]}.",)
    cost = cost_of(at_version(plan, states))
    if cost is None:
        return ()
    told = cost_told(cost, f" {plan.metric.unit}" if plan.metric.unit else "")
    return (f"It earned {told.removeprefix('so far ')}, with 95 % intervals.",)


def _grid(arms: Sequence[Arm]) -> Grid:
    rows = tuple(
        (
            arm.name, f"{arm.rewards:,}", "" if arm.mean is None else format_number(arm.mean),
            "" if arm.best is None else f"{arm.best:.1%}", "" if arm.share is None else f"{arm.share:.1%}",
        )
        for arm in arms
    )  # fmt: skip
    return Grid("Arms", ("arm", "rewards", "mean", "the best with probability", "last share"), rows)


def _picture(arms: Sequence[str], states: Sequence[BanditState]) -> bytes | None:
    """Draw the arms' shares over time; None without two versions, or if features choose."""
    if len(states) < 2 or not states[0].shares:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, DateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 2.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    days: Any = [day_or_moment(state.tick) for state in states]
    colors = [COLORS[i % len(COLORS)] for i, _ in enumerate(arms)]
    axes.stackplot(days, [[state.shares[arm] for state in states] for arm in arms], labels=arms, colors=colors, step="post")
    axes.set_ylim(0, 1)
    axes.set_title("share of the units of each arm", fontsize=9, loc="left")
    axes.legend(fontsize=8, loc="upper left")
    locator: Any = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(DateFormatter("%d %b"))  # type: ignore[no-untyped-call]
    axes.tick_params(labelsize=8)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
