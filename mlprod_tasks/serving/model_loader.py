"""The models that answer: fetched, checked and warmed beside those in use, then put in their place in one step."""

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

import pyarrow.parquet as pq

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.online.features import picker
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import ApiKey, Fallback
from mlprod_tasks.platform.registry import BrokenArtifact, RegistryUnreachable
from mlprod_tasks.promotion import history as champion
from mlprod_tasks.promotion.fallback_switch import sentence, switched
from mlprod_tasks.rollout import routing as rollout
from mlprod_tasks.rollout.routing import Routing, routing
from mlprod_tasks.serving.keys import Keys
from mlprod_tasks.serving.limits import Breaker
from mlprod_tasks.serving.single_row import SingleRow

log = logging.getLogger(__name__)
RETRY_SECONDS = 30.0  # a version that could not be loaded is not asked for at every look
MOST_GOLDEN = 100
MOST_TOLD = 500
KEPT = 3  # versions that answered before: to go back to one needs no registry


@dataclass(frozen=True)
class Version:
    """One version, ready to answer. picked: takes its features, in its order, out of the declaration's."""

    number: int
    digest: str
    model: Any = field(repr=False)
    row: SingleRow = field(repr=False)
    picked: Callable[[tuple[Any, ...]], tuple[Any, ...]] = field(repr=False)
    loaded_at: datetime
    breaker: Breaker = field(default_factory=Breaker, repr=False)  # of its own: a bad version takes nobody else out


@dataclass(frozen=True)
class Standing:
    """All that the answers of one use case rest on, replaced as a whole.

    switched: why the fallback is to answer instead of the champion, '' where it is not; trouble: why what should be loaded
    is not. known: whether rollout and switch were ever read: before, nobody can say who is to decide.
    """

    champion: Version | None = None
    challenger: Version | None = None
    fallback: FallbackModel | None = None
    rollout: Routing | None = None
    switched: str = ""
    trouble: str = ""
    known: bool = False

    @property
    def rolled_out(self) -> Version | None:
        """The challenger of the rollout in force, once it is loaded."""
        wanted = self.rollout.challenger if self.rollout is not None else None
        return self.challenger if self.challenger is not None and self.challenger.number == wanted else None


class Shelf:
    """The standing of each use case; whoever answers reads `standing`.

    `look` reads the ledger and takes milliseconds: keys, rollouts and switches hold from then on. `load` fetches versions,
    which may take long where the registry does: the two run beside each other.
    """

    def __init__(self, pipelines: Mapping[str, Pipeline], platform: Platform) -> None:
        self.pipelines, self.platform = pipelines, platform
        self.standing: Mapping[str, Standing] = MappingProxyType({name: Standing() for name in pipelines})
        self.keys: Keys | None = None  # not read yet
        self._looked = -math.inf
        self._changing = threading.Lock()
        self._failed: dict[tuple[str, int], tuple[float, str]] = {}
        self._kept: dict[str, list[Version]] = {name: [] for name in pipelines}
        self._told: dict[str, str] = {}

    def refresh(self) -> None:
        """Both, one after the other."""
        self.look()
        self.load()

    def look(self) -> None:
        """Read keys, rollouts and switches. What cannot be read goes on as it is known."""
        trouble = ""
        try:
            self.keys = Keys(self.platform.ledger.all(ApiKey))
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
        for name, pipeline in self.pipelines.items():
            try:
                asked = rollout.current(pipeline, self.platform)
                switch = switched(pipeline, self.platform)
            except Exception as error:
                trouble = f"{type(error).__name__}: {error}"
                continue
            told = sentence(switch) if switch else ""
            self._change(name, rollout=routing(asked) if asked else None, switched=told, known=True)
        self._tell("the ledger", trouble[:MOST_TOLD])
        if not trouble:
            self._looked = time.monotonic()

    @property
    def looked_seconds_ago(self) -> float:
        """Since the ledger was read as a whole; infinite where it never was."""
        return time.monotonic() - self._looked

    def load(self) -> None:
        """Bring in the versions that are to answer. What cannot be had leaves what there is in its place."""
        for name, pipeline in self.pipelines.items():
            try:
                self._load(pipeline)
            except Exception as error:
                trouble = f"{type(error).__name__}: {error}"[:MOST_TOLD]
                self._change(name, trouble=trouble)
                self._tell(name, trouble)

    def _load(self, pipeline: Pipeline) -> None:
        before = self.standing[pipeline.name]
        wanted, unreached = self._champion(pipeline)
        first, trouble = self._version(pipeline, wanted)
        asked = before.rollout.challenger if before.rollout is not None else None
        second, more = self._version(pipeline, asked)
        fallback = before.fallback
        # Beside the champion that answers; where none can be loaded, beside the one that should: that is what it is for.
        answering = first or before.champion
        number = answering.number if answering else wanted
        if number is not None and (fallback is None or before.champion is None or before.champion.number != number):
            kept = self.platform.ledger.get(Fallback, pipeline.name, number)
            fallback = FallbackModel.from_json(kept.model) if kept else fallback
        trouble = "; ".join(filter(None, (unreached, trouble, more)))
        # A broken version never replaces a working one.
        self._change(pipeline.name, champion=answering, challenger=second, fallback=fallback, trouble=trouble)
        self._tell(pipeline.name, trouble)

    def _champion(self, pipeline: Pipeline) -> tuple[int | None, str]:
        """The version behind the alias; where the registry does not tell, the one that the ledger has last."""
        unreached = ""
        try:
            ref = self.platform.registry.champion(pipeline)
            if ref is not None:
                return ref.version, ""
        except Exception as error:
            unreached = f"{type(error).__name__}: {error}"[:MOST_TOLD]
        promoted = champion.promotions(pipeline, self.platform)
        return promoted[-1].model_version if promoted else None, unreached

    def _version(self, pipeline: Pipeline, number: int | None) -> tuple[Version | None, str]:
        if number is None:
            return None, ""
        kept = self._kept[pipeline.name]
        there = next((one for one in kept if one.number == number), None)
        if there is not None:
            kept.remove(there)
            kept.append(there)
            return there, ""
        last = self._failed.get((pipeline.name, number))
        if last is not None and time.monotonic() - last[0] < RETRY_SECONDS:
            return None, last[1]
        try:
            made = self._fetched(pipeline, number)
        except RegistryUnreachable as error:
            return None, f"version {number}: {error}"[:MOST_TOLD]  # asked for again at the next look
        except Exception as error:
            log.exception("%s: version %d cannot be served", pipeline.name, number)
            told = f"version {number} cannot be served: {error}"[:MOST_TOLD]
            self._failed[pipeline.name, number] = (time.monotonic(), told)
            return None, told
        self._failed.pop((pipeline.name, number), None)
        # Champion and challenger are the newest of them: each look asks for both.
        self._kept[pipeline.name] = [*kept, made][-KEPT:]
        log.info("%s: version %d is loaded and checked", pipeline.name, number)
        return made, ""

    def _fetched(self, pipeline: Pipeline, number: int) -> Version:
        """Fetch a version, check it on its golden predictions, which also warms it."""
        registry = self.platform.registry
        ref = registry.version(names.registered_model(pipeline), number)
        model = registry.load_model(ref)
        row = SingleRow(model)
        golden = registry.golden_predictions(ref)
        if golden is not None:
            _check(row, pq.read_table(golden).slice(0, MOST_GOLDEN), f"{ref.name} version {number}")
        picked = picker([pipeline.feature_names.index(name) for name in row.feature_names])
        return Version(number, ref.digest, model, row, picked, self.platform.clock.now())

    def _change(self, name: str, **changed: Any) -> None:
        with self._changing:
            self.standing = MappingProxyType({**self.standing, name: replace(self.standing[name], **changed)})

    def _tell(self, whose: str, trouble: str) -> None:
        """Say once that there is trouble, and once that it is over: the next look comes in seconds."""
        if trouble and self._told.get(whose) != trouble:
            log.error("%s: what is known and loaded goes on: %s", whose, trouble)
        elif not trouble and self._told.get(whose):
            log.info("%s: all is well again", whose)
        self._told[whose] = trouble


def _check(row: SingleRow, golden: Any, name: str) -> None:
    columns = [golden[feature].to_pylist() for feature in row.feature_names]
    for values, score in zip(zip(*columns, strict=True), golden["score"].to_pylist(), strict=True):
        if (got := row(values).score) != score:
            raise BrokenArtifact(f"{name} answers {got!r} on a golden row and answered {score!r} when it was made")
