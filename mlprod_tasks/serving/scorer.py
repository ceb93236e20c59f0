"""Score the rows of a request with the version that the rollout chooses, or fallback."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.assignment import Variant
from mlprod_tasks.models.feature_frame import ModelInputError
from mlprod_tasks.online import Features, OnlineFeatures
from mlprod_tasks.online.fields import EPOCH_DAY
from mlprod_tasks.online.plan import EPOCH, MICROSECOND, micros
from mlprod_tasks.rollout import routing
from mlprod_tasks.rollout.routing import Routing
from mlprod_tasks.scoring.log_row import LoggedRow, columns_of_bandit, columns_of_second
from mlprod_tasks.scoring.prediction_log import PredictionLog
from mlprod_tasks.serving.adapter import NOT_THE_CHAMPIONS, Logged
from mlprod_tasks.serving.bandits import BanditSplit
from mlprod_tasks.serving.error_place import error_place
from mlprod_tasks.serving.experiments import NOT_ASSIGNED, Assignment, RequestSplit, of_all, unit_reader
from mlprod_tasks.serving.messages import ValidRequest
from mlprod_tasks.serving.model_loader import LoadedModels, LoadedVersion, ModelLoader
from mlprod_tasks.serving.row_decision import NO_SHADOW, RouteChoice, RowDecision, RowResult, ShadowScore
from mlprod_tasks.serving.row_score import RowScore
from mlprod_tasks.serving.single_row import fallback_score
from mlprod_tasks.serving.task_answers import AnsweredRow, answers_of

log = logging.getLogger(__name__)
MOST_CACHED = 20_000
MOST_CACHED_PROBABILITIES = 1_000_000  # of classes, some 50 bytes each
# Keys as a client writes them: internally, moments are microseconds and dates are days.
WRITTEN: dict[str, Callable[[Any], Any]] = {
    "timestamp": lambda us: (EPOCH + us * MICROSECOND).isoformat(),
    "date": lambda day: date.fromordinal(EPOCH_DAY + day).isoformat(),
}


@dataclass
class ScoringCounts:
    """What a scorer has counted since the start."""

    rows: int = 0
    fallback: int = 0
    refused: int = 0
    absent: int = 0
    review: int = 0
    errors: int = 0
    hits: int = 0
    misses: int = 0
    shadow: int = 0
    shadow_errors: int = 0
    shadow_difference: float = 0.0


class Scorer:
    """Scores rows of one use case. Not thread-safe: it shares the models' buffers."""

    def __init__(
        self, pipeline: Pipeline, online: OnlineFeatures, loader: ModelLoader, log: PredictionLog, readers: Executor
    ) -> None:
        self.pipeline, self.online, self.loader, self.log, self.readers = pipeline, online, loader, log, readers
        self.counts, self.answers = ScoringCounts(), answers_of(pipeline)
        self._cache: OrderedDict[tuple[int, int, bytes], RowScore] = OrderedDict()
        self._names, self._unit = pipeline.feature_names, unit_reader(pipeline)
        # What assigns the requests of the last tick.
        self._split_tick: TickName | None = None
        self._splits: Sequence[RequestSplit | BanditSplit] = ()
        self._split: Callable[[str | None, Sequence[Any]], Assignment] | None = None
        self._logs_second = bool(columns_of_second(pipeline))
        self._logs_bandit = bool(columns_of_bandit(pipeline))
        self._adapts = pipeline.adapt is not None
        entity = pipeline.entity_table
        self._key = tuple((name, WRITTEN.get(entity.column(name).kind)) for name in entity.key)

    @property
    def loaded(self) -> LoadedModels:
        """The models that currently answer."""
        return self.loader.loaded[self.pipeline.name]

    async def features(self, rows: Sequence[dict[str, Any]], moment: datetime) -> list[Features]:
        """Return the features of rows as of a moment.

        rows: as `OnlineFeatures.fields` read them.
        """
        return await self.online.within(rows, [micros(moment)] * len(rows), self.readers)

    def features_at_hand(self, rows: Sequence[dict[str, Any]], moment: datetime) -> list[Features] | None:
        """Like `features`, without waiting; None if that needs a remote store."""
        return self.online.at_hand(rows, [micros(moment)] * len(rows))

    def score(self, request: ValidRequest, features: Sequence[Features], began: float, first: int = 0) -> list[RowResult]:
        """Score the request's rows from `first` on, one per item of `features`.

        `note` logs them.
        began: when work on their features began (`perf_counter`).
        """
        shared = (time.perf_counter() - began) / len(features)
        loaded, at = self.loaded, self.loader.platform.clock.now()
        return [self._score(request, first + i, one, loaded, at, shared) for i, one in enumerate(features)]

    def note(self, results: Iterable[RowResult]) -> None:
        """Write the answered rows to the prediction log."""
        for result in results:
            self.log.add(result.log_row)

    def key_of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the key of a row as the client wrote it.

        Personal parts are hashed as in the lake.
        """
        return {name: row[name] if written is None else written(row[name]) for name, written in self._key}

    def assignment(
        self, row: Mapping[str, Any], tick: TickName, loaded: LoadedModels, values: Sequence[Any] = ()
    ) -> Assignment:
        """Return the variant of an experiment that a row's unit has, or the arm that a bandit gives it.

        values: of its features, which only a bandit that chooses by features reads.
        """
        if tick is not self._split_tick or loaded.splits is not self._splits:  # most requests share both
            self._split_tick, self._splits = tick, loaded.splits
            self._split = of_all([one for one in loaded.splits if one.first <= tick <= one.last])
        of, unit = self._split, self._unit
        return NOT_ASSIGNED if of is None or unit is None else of(unit(row), values)

    def choose_route(self, entity: str, loaded: LoadedModels, assigned: Assignment = NOT_ASSIGNED) -> RouteChoice:
        """Choose the version for an entity, by its key as `joined` writes it, or by the variant of its unit."""
        if assigned.variant is not None:
            return _of_variant(assigned.variant, loaded)
        challenger = loaded.rolled_out  # None if not loaded yet: then the champion answers
        if challenger is None or loaded.rollout is None or loaded.rollout.mode == "shadow":
            return RouteChoice("champion", "champion", loaded.champion)
        propensity = loaded.rollout.propensity
        if routing.answers(loaded.rollout, self.pipeline.name, entity) == "champion":
            others = None if propensity is None else 1 - propensity
            return RouteChoice("champion", "champion", loaded.champion, propensity=others)
        if challenger.breaker.open and loaded.champion is not None:
            return RouteChoice("challenger", "champion", loaded.champion, propensity=propensity)
        return RouteChoice("challenger", "challenger", challenger, propensity=propensity)

    def _score(
        self, request: ValidRequest, place: int, features: Features, loaded: LoadedModels, at: datetime, shared: float
    ) -> RowResult:
        began = time.perf_counter() - shared
        row = request.rows[place]
        key = self.key_of(row)
        entity = joined(key)
        assigned = self.assignment(row, request.tick, loaded, features.values) if loaded.splits else NOT_ASSIGNED
        decided = self._choose_score(key, entity, features, loaded, request.cacheable, assigned)
        scored = decided.scored
        if assigned.state is not None:  # of a bandit, which does not learn from what it did not give
            if scored.score is None or not (decided.as_assigned or assigned.action):
                assigned = Assignment(assigned.experiment)
            scored.action = assigned.action
        milliseconds = 1000 * (time.perf_counter() - began)
        shadow = self._shadow(features, scored, loaded, request.cacheable)
        self.counts.rows += 1
        logged = LoggedRow(
            request_id=request.request_id,
            row=place,
            key=entity,
            tick=request.tick,
            predict_at=request.moment,
            at=at,
            score=scored.score,
            decision=scored.decision,
            model_version=scored.version,
            route=scored.route,
            assigned=decided.assigned,
            fallback=scored.fallback,
            error=decided.failed,
            review=scored.review,
            reason=scored.reason,
            stale=bool(scored.stale),
            missing=bool(scored.missing),
            shadow_version=shadow.version,
            shadow_score=shadow.score,
            shadow_milliseconds=shadow.milliseconds,
            milliseconds=milliseconds,
            experiment=assigned.experiment,
            variant=assigned.name,
            propensity=decided.propensity if assigned.experiment is None else assigned.propensity,
            key_values=tuple([row[name] for name in key]),
            features=features.values,
            of_task=(*self.answers.logged(scored), *decided.own) if self._adapts else self.answers.logged(scored),
            of_second=assigned.second if self._logs_second else (),
            of_bandit=(assigned.state, assigned.action) if self._logs_bandit else (),
        )
        return RowResult(scored, logged)

    def _choose_score(
        self,
        key: dict[str, Any],
        entity: str,
        features: Features,
        loaded: LoadedModels,
        cacheable: bool,
        assigned: Assignment,
    ) -> RowDecision:
        if features.answer == "absent":
            self.counts.absent += 1
            return RowDecision(self.answers.scored(key, None, features, None, "absent", reason="; ".join(features.reasons)))
        if features.answer == "refuse":
            return RowDecision(self._refusal(key, features, "; ".join(features.reasons)))
        if loaded.switched and loaded.fallback is not None:
            return RowDecision(self._fallback(key, features, loaded, loaded.switched))
        if features.answer == "fallback":
            return RowDecision(self._fallback(key, features, loaded, "; ".join(features.reasons)))
        if assigned.variant is not None and assigned.variant.held_out and loaded.fallback is not None:
            return RowDecision(self._fallback(key, features, loaded, assigned.held_out), as_assigned=True)
        choice = self.choose_route(entity, loaded, assigned)
        if choice.version is None:
            return self._instead(choice, key, features, loaded, "no model is loaded")
        if choice.version.breaker.open:
            return self._instead(choice, key, features, loaded, "the model failed several times in a row")
        return self._score_with_model(choice, choice.version, key, features, loaded, cacheable)

    def _score_with_model(
        self,
        choice: RouteChoice,
        version: LoadedVersion,
        key: dict[str, Any],
        features: Features,
        loaded: LoadedModels,
        cacheable: bool,
    ) -> RowDecision:
        try:
            row_score = self._predict(version, features.values, cacheable)
        except ModelInputError:  # the row is at fault, not the model
            return self._instead(choice, key, features, loaded, "a feature is not a number that the model takes")
        except Exception as error:
            self.counts.errors += 1
            version.breaker.failed()
            # Without its text, which may quote values.
            log.error("%s: version %d failed: %s", self.pipeline.name, version.number, error_place(error))
            return self._instead(choice, key, features, loaded, f"the model failed ({type(error).__name__})", failed=True)
        own = NOT_THE_CHAMPIONS
        if self._adapts:
            own = logged_own(version, row_score, loaded)
            row_score = adapted(version, version.picked(features.values), row_score, loaded)
        if choice.threshold is not None:
            row_score = RowScore(row_score.score, row_score.score >= choice.threshold)
        decision, review = self._automate(row_score, loaded.rollout)
        scored = self.answers.scored(key, row_score, features, version.number, choice.route, decision=decision, review=review)
        as_assigned = choice.assigned == choice.route
        return RowDecision(scored, choice.assigned, propensity=choice.propensity, as_assigned=as_assigned, own=own)

    def _instead(
        self,
        choice: RouteChoice,
        key: dict[str, Any],
        features: Features,
        loaded: LoadedModels,
        reason: str,
        *,
        failed: bool = False,
    ) -> RowDecision:
        """Let the fallback answer for the version that was chosen."""
        return RowDecision(self._fallback(key, features, loaded, reason), choice.assigned, failed, choice.propensity)

    def _predict(self, version: LoadedVersion, values: tuple[Any, ...], cacheable: bool) -> RowScore:
        model = version.row.load(version.picked(values))
        cache_key = (version.number, *model.cache_key)
        known = self._cache.get(cache_key)
        if known is not None:
            self._cache.move_to_end(cache_key)
            self.counts.hits += 1
            return known
        self.counts.misses += 1
        row_score = model.predict()
        version.breaker.succeeded()  # only here: a cached score says nothing about the model
        if cacheable:
            self._cache[cache_key] = row_score
            while len(self._cache) > _most_cached(row_score):
                self._cache.popitem(last=False)
        return row_score

    def _shadow(self, features: Features, scored: AnsweredRow, loaded: LoadedModels, cacheable: bool) -> ShadowScore:
        """Score the row with a challenger in shadow mode: only the log gets it, not the response."""
        challenger = loaded.rolled_out
        if challenger is None or loaded.rollout is None or loaded.rollout.mode != "shadow":
            return NO_SHADOW
        if scored.score is None or scored.fallback or challenger.breaker.open:
            return NO_SHADOW
        began = time.perf_counter()
        try:
            row_score = self._predict(challenger, features.values, cacheable)
        except Exception as error:
            log.error("%s: version %d failed in shadow mode: %s", self.pipeline.name, challenger.number, error_place(error))
            self.counts.shadow_errors += 1
            challenger.breaker.failed()
            return ShadowScore(challenger.number, None, 1000 * (time.perf_counter() - began))
        self.counts.shadow += 1
        score = self.answers.compared(row_score, scored)
        self.counts.shadow_difference += abs(score - scored.score)
        return ShadowScore(challenger.number, score, 1000 * (time.perf_counter() - began))

    def _fallback(self, key: dict[str, Any], features: Features, loaded: LoadedModels, reason: str) -> AnsweredRow:
        if loaded.fallback is None:
            return self._refusal(key, features, f"{reason}; and there is no fallback")
        self.counts.fallback += 1
        values = dict(zip(self._names, features.values, strict=True))
        # Its feature names may differ from the declaration's, which may have changed since it was fitted.
        row_score = fallback_score(loaded.fallback, [values.get(name) for name in loaded.fallback.feature_names])
        decision, review = self._automate(row_score, loaded.rollout)
        version = loaded.champion.number if loaded.champion else None
        return self.answers.scored(
            key, row_score, features, version, "fallback", decision=decision, review=review, reason=reason
        )

    def _refusal(self, key: dict[str, Any], features: Features, reason: str) -> AnsweredRow:
        self.counts.refused += 1
        return self.answers.scored(key, None, features, None, "refused", reason=reason)

    def _automate(self, row_score: RowScore, rollout: Routing | None) -> tuple[bool | None, bool]:
        """Return the decision, None if no decision is made, and whether people decide the row."""
        doubt = None if rollout is None or rollout.automation == "full" else self.answers.in_doubt(row_score)
        if rollout is None or doubt is None:
            return row_score.decision, False
        if rollout.automation == "band" and not (rollout.band_low or 0.0) <= doubt < (rollout.band_high or 1.0):
            return row_score.decision, False
        review = rollout.automation != "shadow"
        self.counts.review += review
        return None, review


def adapted(version: LoadedVersion, picked: tuple[Any, ...], own: RowScore, loaded: LoadedModels) -> RowScore:
    """Return what becomes of a version's own score of a row: only the champion's is adapted. picked: the features it reads."""
    adapter = loaded.adapter
    if adapter is None or adapter.version != version.number:
        return own
    return adapter.of(version.row, picked, own)


def logged_own(version: LoadedVersion, own: RowScore, loaded: LoadedModels) -> Logged:
    """Return how a version's own score is logged beside the answer: only the champion's is."""
    adapter = loaded.adapter
    return NOT_THE_CHAMPIONS if adapter is None or adapter.version != version.number else adapter.logged(own)


def _most_cached(row_score: RowScore) -> int:
    """Return how many scores are kept; fewer of many classes, as each holds a probability of all."""
    if row_score.probabilities is None:
        return MOST_CACHED
    return min(MOST_CACHED, MOST_CACHED_PROBABILITIES // len(row_score.probabilities))


def _of_variant(variant: Variant, loaded: LoadedModels) -> RouteChoice:
    """Return the choice for a unit of a variant; where its version cannot answer, the champion does, in its own way."""
    if variant.version == (None if loaded.champion is None else loaded.champion.number):
        return RouteChoice("champion", "champion", loaded.champion, variant.threshold)
    version = loaded.variants.get(variant.version)
    if version is None or (version.breaker.open and loaded.champion is not None):
        return RouteChoice("challenger", "champion", loaded.champion)
    return RouteChoice("challenger", "challenger", version, variant.threshold)


def joined(key: Mapping[str, Any]) -> str:
    """Join the key into one text, by which rollouts assign entities."""
    return "/".join(map(str, key.values()))
