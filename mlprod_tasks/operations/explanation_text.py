"""The explanation of a prediction, and its text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import shorten

import numpy as np

from mlprod_tasks.documents.formatting import format_number

MOST_SHOWN = 12

LONGEST_VALUE, LONGEST_MEANING = 24, 76


@dataclass(frozen=True)
class FeatureEffect:
    """One feature of the row: the value that was scored, and its effect.

    log_odds: what it adds before calibration, on the explanation's `scale`; None if the model has no exact contributions or
    does not use the feature. probability: about how much the score would fall without it (exact contributions), or with a usual
    value in its place.
    """

    feature: str
    value: str
    log_odds: float | None
    probability: float | None
    meaning: str


@dataclass(frozen=True)
class SourceTable:
    """A lake table that features read: its version when the row was scored, None where unknown, and now."""

    table: str
    then: int | None
    now: int


@dataclass(frozen=True)
class ModelOrigin:
    """The training that produced the model; None for what ledger and registry no longer know."""

    training_id: str | None
    as_of: str | None
    reason: str | None
    gates_passed: int
    gates: int
    run_id: str | None
    run_url: str | None
    code: str | None
    git_commit: str | None


@dataclass(frozen=True)
class PredictionExplanation:
    """One prediction with its features, their effects and their sources.

    way: how the effects were computed, in words. recomputed: the score that the model gives for the stored features; None if
    it cannot, with the reason in not_recomputed. base_log_odds, log_odds: before calibration, for exact contributions, on
    `scale`; all three are None without. decision: None if the score is a predicted number; interval: its low and high end, if
    it has one. predicted: the class, whose probability is the score, with the probabilities of the likeliest ones.
    capacity: how many rows of a tick may be acted on.
    """

    pipeline: str
    key: dict[str, str]
    tick: str
    predict_at: str
    score: float
    threshold: float | None
    decision: bool | None
    fallback: bool
    fallback_reason: str | None
    outcome: bool | float | str | None
    outcome_known_at: str | None
    model_version: int
    learner: str
    calibration: str
    parts: tuple[FeatureEffect, ...]
    way: str
    base_log_odds: float | None
    log_odds: float | None
    recomputed: float | None
    not_recomputed: str | None
    scored_at: str | None
    predictions_version: int | None
    declaration: str
    declaration_is_todays: bool
    sources: tuple[SourceTable, ...]
    origin: ModelOrigin
    scale: str | None = None
    interval: tuple[float, float] | None = None
    predicted: str | None = None
    probabilities: tuple[tuple[str, float], ...] = ()
    capacity: int | None = None

    @property
    def answer(self) -> str:
        """What was predicted, in words."""
        if self.predicted is not None:
            others = ", ".join(f"{name} {share:.4f}" for name, share in self.probabilities if name != self.predicted)
            return f"{self.predicted}, probability {self.score:.4f}" + (f" ({others})" if others else "")
        if self.decision is None:
            within = "" if self.interval is None else f", between {' and '.join(map(format_number, self.interval))}"
            return f"{format_number(self.score)}{within}"
        bound = "" if self.threshold is None else f" (threshold {format_number(self.threshold)}{self._no_room})"
        return f"{self.score:.4f}, decision: {'act' if self.decision else 'wait'}{bound}"

    @property
    def _no_room(self) -> str:
        """Why a row that reaches the threshold is not acted on."""
        reaches = self.threshold is not None and self.score >= self.threshold and not self.decision
        return f", but there is room for {self.capacity:,} rows of a tick only" if reaches and self.capacity else ""

    @property
    def came(self) -> str:
        """What the outcome was, in words."""
        if self.outcome is None:
            return "not known yet"
        if isinstance(self.outcome, str):
            return f"{self.outcome}, known {self.outcome_known_at}"
        words = (
            {True: "positive", False: "negative"}[self.outcome]
            if isinstance(self.outcome, bool)
            else format_number(self.outcome)
        )
        return f"{words}, known {self.outcome_known_at}"


def text(one: PredictionExplanation) -> str:
    """Write the explanation for a terminal: the features with the largest effects, the others summed."""
    return "\n".join([*_head(one), "", *_parts(one), "", *_sources(one)])


def _head(one: PredictionExplanation) -> Iterator[str]:
    yield f"{one.pipeline}: {', '.join(f'{name} {value}' for name, value in one.key.items())}"
    yield ""
    yield _line("score" if one.decision is not None else "predicted", one.answer)
    yield _line("outcome", one.came)
    yield _line("tick", f"{one.tick}, features as known at {one.predict_at}")
    who = f"the fallback of version {one.model_version}" if one.fallback else f"version {one.model_version}"
    calibration = "" if one.decision is None else f", calibration {one.calibration}"
    yield _line("scored by", f"{who} ({one.learner}{calibration})" + (f", {one.scored_at}" if one.scored_at else ""))
    if one.fallback_reason:
        yield _line("because", shorten(one.fallback_reason, 110))
    origin = one.origin
    if origin.training_id:
        gates = f", gates {origin.gates_passed} of {origin.gates} passed" if origin.gates else ""
        yield _line("training", f"{origin.training_id}, as of {origin.as_of or 'unknown'}{gates}")
        yield _line("reason", origin.reason or "unknown")
    if origin.run_id:
        yield _line("run", origin.run_url or origin.run_id)
    if origin.code:
        commit = f", commit {origin.git_commit}" if origin.git_commit else ""
        yield _line("code", f"{origin.code[:12]}{commit}")
    yield _line("check", _check(one))


def _check(one: PredictionExplanation) -> str:
    if one.recomputed is None:
        return f"not recomputed: {one.not_recomputed}"
    if one.recomputed == one.score:
        what = "probability" if one.predicted is not None else "score" if one.decision is not None else "number"
        return f"the model gives exactly this {what} for the stored features, bit for bit"
    recomputed, score = np.format_float_positional(one.recomputed), np.format_float_positional(one.score)
    return f"the model gives {recomputed} for the stored features, not {score}: score {one.tick} again"


def _parts(one: PredictionExplanation) -> Iterator[str]:
    largest_first = sorted(one.parts, key=_weight, reverse=True)
    shown, rest = largest_first[:MOST_SHOWN], largest_first[MOST_SHOWN:]
    exact = one.base_log_odds is not None
    number = one.decision is None
    whole = "together" if number else "before calibration"
    names = max([len(part.feature) for part in shown] + [len("feature"), len(whole)])
    values = max([len(_short(part.value)) for part in shown] + [len("value")])
    head = f"{'added' if number else 'log-odds':>9}  " if exact else ""
    yield f"{'feature':{names}}  {'value':>{values}}  {head}{_effect_heading(one):>7}  from"
    for part in shown:
        added = f"{_signed(part.log_odds):>9}  " if exact else ""
        meaning = shorten(part.meaning.replace("`", ""), LONGEST_MEANING, placeholder=" ...")
        value = f"{_short(part.value):>{values}}"
        yield f"{part.feature:{names}}  {value}  {added}{_signed(part.probability):>7}  {meaning}".rstrip()
    if exact:
        if rest:
            total = sum(part.log_odds or 0.0 for part in rest)
            yield f"{f'{len(rest)} others':{names}}  {'':>{values}}  {_signed(total):>9}"
        yield f"{'base':{names}}  {'':>{values}}  {_signed(one.base_log_odds):>9}"
        yield f"{whole:{names}}  {'':>{values}}  {_signed(one.log_odds):>9}"
    elif rest:
        yield f"{len(rest)} others with smaller effects"
    yield f"({one.way})"


def _effect_heading(one: PredictionExplanation) -> str:
    if one.predicted is not None:
        return "chance"
    return "number" if one.decision is None else "score"


def _sources(one: PredictionExplanation) -> Iterator[str]:
    if one.predictions_version is not None:
        yield _line("stored in", f"{one.pipeline}/predictions, version {one.predictions_version}")
    same = "today's" if one.declaration_is_todays else "changed since"
    yield _line("declared", f"{one.declaration[:12]}, {same}")
    for source in one.sources:
        then = "version at scoring unknown" if source.then is None else f"version {source.then} at scoring"
        yield _line("read from", f"{source.table}, {then}, {source.now} now")


def _line(what: str, text: str) -> str:
    return f"{what:9}  {text}"


def _weight(part: FeatureEffect) -> float:
    return abs(part.log_odds if part.log_odds is not None else part.probability or 0.0)


def _signed(number: float | None) -> str:
    return "" if number is None else f"{number:+.3f}"


def _short(value: str) -> str:
    return value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - 3] + "..."
