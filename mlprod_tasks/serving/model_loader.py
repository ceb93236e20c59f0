"""Load models in the background; a checked new one replaces the old one at once."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models.check_task import check_task
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.models.usual_values import usual_value
from mlprod_tasks.online.features import picker
from mlprod_tasks.online.fields import hashed_fields
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.key_entries import ApiKey
from mlprod_tasks.platform.ledger import Fallback
from mlprod_tasks.platform.model_files import BrokenArtifact
from mlprod_tasks.platform.pseudonym_key import PseudonymKeyChanged, pseudonym_key
from mlprod_tasks.platform.registry import RegistryUnreachable
from mlprod_tasks.promotion import history
from mlprod_tasks.promotion.fallback_switch import sentence, switched
from mlprod_tasks.rollout import routing
from mlprod_tasks.rollout.routing import Routing
from mlprod_tasks.serving.adapter import Adapter, adapter_of
from mlprod_tasks.serving.bandits import BanditSplit, FollowedBandits
from mlprod_tasks.serving.circuit_breaker import CircuitBreaker
from mlprod_tasks.serving.experiments import RequestSplit, splits_of
from mlprod_tasks.serving.keys import ValidKeys
from mlprod_tasks.serving.single_row import SingleRow

log = logging.getLogger(__name__)
RETRY_SECONDS = 30.0  # before a version that could not be loaded is tried again
MOST_GOLDEN = 100
MOST_TEXT = 500  # characters of an error
MOST_KEPT = 3  # earlier versions stay loaded: going back to one needs no registry


@dataclass(frozen=True)
class LoadedVersion:
    """One version, ready to answer.

    picked: selects its features, in its order, from the declaration's. usual: a usual value of each feature, from its golden
    rows; None if it was registered without them.
    """

    number: int
    digest: str
    model: Any = field(repr=False)
    row: SingleRow = field(repr=False)
    picked: Callable[[tuple[Any, ...]], tuple[Any, ...]] = field(repr=False)
    loaded_at: datetime
    usual: Mapping[str, Any] | None = field(default=None, repr=False)
    # One breaker per version, so that a bad version does not stop another.
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker, repr=False)


@dataclass(frozen=True)
class LoadedModels:
    """The models and switches that answer for one use case. Replaced as a whole.

    switched: why the fallback answers instead of the champion, else ''. trouble: why a version that should be loaded is not.
    ledger_read: whether rollout and switch have been read; until then it is unknown which model answers.
    adapter: what adapts the champion's scores, if the use case adapts them. experiments: those that assign requests now or
    later, and bandits. splits: those whose control is the champion, while it answers all that is in no experiment, as was
    planned; and bandits that choose among actions. variants: their versions that are loaded, by number.
    """

    champion: LoadedVersion | None = None
    challenger: LoadedVersion | None = None
    fallback: FallbackModel | None = None
    rollout: Routing | None = None
    switched: str = ""
    trouble: str = ""
    ledger_read: bool = False
    adapter: Adapter | None = None
    experiments: tuple[RequestSplit | BanditSplit, ...] = ()
    splits: tuple[RequestSplit | BanditSplit, ...] = ()
    variants: Mapping[int, LoadedVersion] = field(default_factory=dict)

    @property
    def rolled_out(self) -> LoadedVersion | None:
        """The challenger of the current rollout, once it is loaded."""
        wanted = self.rollout.challenger if self.rollout is not None else None
        return self.challenger if self.challenger is not None and self.challenger.number == wanted else None

    @property
    def experiment_versions(self) -> tuple[int, ...]:
        """The versions that experiments need."""
        assignments = (one for split in self.experiments for one in split.assignments)
        return tuple(sorted({one.variant.version for one in assignments if one.variant is not None}))


class ModelLoader:
    """Keeps the models of each use case up to date, in `loaded`.

    `read_ledger` takes milliseconds and applies keys, rollouts and switches. `load_models` fetches versions, which takes as
    long as the registry needs. The two run in separate threads.
    """

    def __init__(self, pipelines: Mapping[str, Pipeline], platform: Platform) -> None:
        self.pipelines, self.platform = pipelines, platform
        self.loaded: Mapping[str, LoadedModels] = MappingProxyType({name: LoadedModels() for name in pipelines})
        self.keys: ValidKeys | None = None  # not read yet
        self._bandits = FollowedBandits(platform)
        self._read_at = -math.inf
        self._changing = threading.Lock()
        self._failed: dict[tuple[str, int], tuple[float, str]] = {}
        self._kept: dict[str, list[LoadedVersion]] = {name: [] for name in pipelines}
        self._reported: dict[str, str] = {}

    def refresh(self) -> None:
        """Read the ledger, then load the models."""
        self.read_ledger()
        self.load_models()

    def read_ledger(self) -> None:
        """Read keys, rollouts and switches.

        What cannot be read keeps its last known state. A use case whose fields are hashed with another key than the lake's does
        not answer.
        """
        trouble = ""
        try:
            self.keys = ValidKeys(self.platform.ledger.all(ApiKey))
        except Exception as error:
            trouble = _error_text(error)
        for name, pipeline in self.pipelines.items():
            try:
                if hashed_fields(pipeline):
                    pseudonym_key(self.platform)
                rollout = routing.current(pipeline, self.platform)
                switch = switched(pipeline, self.platform)
                experiments = (*splits_of(pipeline, self.platform), *self._bandits.splits(pipeline))
            except PseudonymKeyChanged as error:
                # Its hashes are in no table any more: it must not answer as if nobody had a past.
                trouble = _error_text(error)
                self._change(name, ledger_read=False)
                continue
            except Exception as error:
                trouble = _error_text(error)
                continue
            self._change(
                name,
                rollout=routing.routing(rollout) if rollout else None,
                switched=sentence(switch) if switch else "",
                experiments=experiments,
                ledger_read=True,
            )
        self._report("the ledger", trouble)
        if not trouble:
            self._read_at = time.monotonic()

    @property
    def ledger_read_seconds_ago(self) -> float:
        """Seconds since the ledger was last read completely; infinite if never."""
        return time.monotonic() - self._read_at

    def load_models(self) -> None:
        """Load the versions that should answer.

        If one cannot be loaded, the models loaded before keep answering.
        """
        for name, pipeline in self.pipelines.items():
            try:
                self._load(pipeline)
            except Exception as error:
                self._change(name, trouble=_error_text(error))
                self._report(name, _error_text(error))

    def _load(self, pipeline: Pipeline) -> None:
        before = self.loaded[pipeline.name]
        champion_number, unreached = self._champion(pipeline)
        champion, champion_trouble = self._version(pipeline, champion_number)
        challenger_number = before.rollout.challenger if before.rollout is not None else None
        challenger, challenger_trouble = self._version(pipeline, challenger_number)
        variants = {number: self._version(pipeline, number) for number in before.experiment_versions}
        champion = champion or before.champion  # a broken version never replaces a working one
        # The fallback of the champion that answers; without one, the fallback of the champion that could not be loaded.
        number = champion.number if champion else champion_number
        adapter, adapter_trouble = self._adapter(pipeline, champion, before)
        of_variants = (why for _, why in variants.values())
        troubles = (unreached, champion_trouble, challenger_trouble, adapter_trouble, *of_variants)
        trouble = "; ".join(filter(None, dict.fromkeys(troubles)))
        self._change(
            pipeline.name,
            champion=champion,
            adapter=adapter,
            challenger=challenger,
            variants={number: version for number, (version, _) in variants.items() if version is not None},
            fallback=self._fallback(pipeline, number, before),
            trouble=trouble,
        )
        self._report(pipeline.name, trouble)

    def _champion(self, pipeline: Pipeline) -> tuple[int | None, str]:
        """Return the champion's version, and ''; if the registry does not answer, the ledger's last one, and why."""
        unreached = ""
        try:
            ref = self.platform.registry.champion(pipeline)
            if ref is not None:
                return ref.version, ""
        except Exception as error:
            unreached = _error_text(error)
        promoted = history.promotions(pipeline, self.platform)
        return promoted[-1].model_version if promoted else None, unreached

    def _adapter(self, pipeline: Pipeline, champion: LoadedVersion | None, before: LoadedModels) -> tuple[Adapter | None, str]:
        """Return what adapts the champion's scores, and ''; the last known one, and why, if the lake does not answer."""
        if champion is None:
            return None, ""
        try:
            return adapter_of(pipeline, champion.number, before.adapter, self.platform), ""
        except Exception as error:
            return before.adapter, f"what adapts scores cannot be read: {_error_text(error)}"

    def _fallback(self, pipeline: Pipeline, number: int | None, before: LoadedModels) -> FallbackModel | None:
        """Return the fallback of that version; the loaded one if it is the same, or if the ledger has none.

        Raises: OtherTask.
        """
        known = before.fallback is not None and before.champion is not None and before.champion.number == number
        if number is None or known:
            return before.fallback
        kept = self.platform.ledger.get(Fallback, pipeline.name, number)
        if kept is None:
            return before.fallback
        fallback = FallbackModel.from_json(kept.model)
        check_task(pipeline, fallback, number)
        return fallback

    def _version(self, pipeline: Pipeline, number: int | None) -> tuple[LoadedVersion | None, str]:
        """Return a version ready to answer, and ''; else None and why it is not."""
        if number is None:
            return None, ""
        kept = self._kept[pipeline.name]
        for one in kept:
            if one.number == number:
                kept.remove(one)
                kept.append(one)
                return one, ""
        last = self._failed.get((pipeline.name, number))
        if last is not None and time.monotonic() - last[0] < RETRY_SECONDS:
            return None, last[1]
        try:
            version = self._fetch(pipeline, number)
        except RegistryUnreachable as error:
            return None, f"version {number}: {error}"[:MOST_TEXT]  # tried again in seconds
        except Exception as error:
            log.exception("%s: version %d cannot be served", pipeline.name, number)
            reason = f"version {number} cannot be served: {error}"[:MOST_TEXT]
            self._failed[pipeline.name, number] = (time.monotonic(), reason)
            return None, reason
        self._failed.pop((pipeline.name, number), None)
        # The list is ordered by use. Those that answer are used at each look, so they are never dropped.
        answering = 2 + len(self.loaded[pipeline.name].experiment_versions)
        self._kept[pipeline.name] = [*kept, version][-max(MOST_KEPT, answering) :]
        log.info("%s: version %d is loaded and checked", pipeline.name, number)
        return version, ""

    def _fetch(self, pipeline: Pipeline, number: int) -> LoadedVersion:
        """Fetch a version and check it on its golden predictions, which also warms it."""
        registry = self.platform.registry
        ref = registry.version(names.registered_model(pipeline), number)
        model = registry.load_model(ref)
        check_task(pipeline, model, number)
        row = SingleRow(model)
        file = registry.golden_predictions(ref)
        golden = None if file is None else pq.read_table(file)
        usual = None
        if golden is not None:
            _check(row, golden.slice(0, MOST_GOLDEN), f"{ref.name} version {number}")
            usual = {name: usual_value(golden[name].combine_chunks()) for name in row.feature_names}
        picked = picker([pipeline.feature_names.index(name) for name in row.feature_names])
        return LoadedVersion(number, ref.digest, model, row, picked, self.platform.clock.now(), usual)

    def _change(self, name: str, **changed: Any) -> None:
        with self._changing:
            loaded = replace(self.loaded[name], **changed)
            self.loaded = MappingProxyType({**self.loaded, name: replace(loaded, splits=_splits(loaded))})

    def _report(self, whose: str, trouble: str) -> None:
        """Log a problem once, and once that it is over: this runs every few seconds."""
        before = self._reported.get(whose, "")
        if trouble and before != trouble:
            log.error("%s: cannot be updated, the last state stays in use: %s", whose, trouble)
        elif not trouble and before:
            log.info("%s: updated again", whose)
        self._reported[whose] = trouble


def _splits(loaded: LoadedModels) -> tuple[RequestSplit | BanditSplit, ...]:
    if loaded.champion is None:
        return ()
    champion = None if loaded.rollout is not None and loaded.rollout.splits else loaded.champion.number
    return tuple(one for one in loaded.experiments if one.control is None or one.control == champion)


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MOST_TEXT]


def _check(row: SingleRow, golden: pa.Table, name: str) -> None:
    columns = [golden[feature].to_pylist() for feature in row.feature_names]
    for values, before in zip(zip(*columns, strict=True), golden.to_pylist(), strict=True):
        for what, current in row(values).stored().items():
            if current != before[what]:
                raise BrokenArtifact(f"{name} scores a golden row {current!r}; it scored it {before[what]!r} when it was made")
