"""The models that answer: fetched, checked and warmed beside those in use, then put in their place in one step."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq

from mlprod_tasks import champion, places, rollout
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.fallback import FallbackModel
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import ApiKey, Fallback, Rollout
from mlprod_tasks.platform.registry import BrokenArtifact
from mlprod_tasks.serve.keys import Keys
from mlprod_tasks.serve.single_row import SingleRow

log = logging.getLogger(__name__)
RETRY_SECONDS = 30.0  # a version that could not be loaded is not asked for at every look
MOST_CANNED = 100
MOST_TOLD = 500


@dataclass(frozen=True)
class Version:
    """One version, ready to answer."""

    number: int
    digest: str
    model: Any = field(repr=False)
    row: SingleRow = field(repr=False)
    loaded_at: datetime


@dataclass(frozen=True)
class Standing:
    """All that the answers of one use case rest on, replaced as a whole."""

    champion: Version | None = None
    challenger: Version | None = None
    fallback: FallbackModel | None = None
    rollout: Rollout | None = None
    trouble: str = ""


class Shelf:
    """The standing of each use case, brought up to date by `refresh`; whoever answers reads `standing`."""

    def __init__(self, pipelines: Mapping[str, Pipeline], platform: Platform) -> None:
        self.pipelines, self.platform = pipelines, platform
        self.standing: Mapping[str, Standing] = MappingProxyType({name: Standing() for name in pipelines})
        self.keys = Keys()
        self.refreshed_at: datetime | None = None
        self._failed: dict[tuple[str, int], tuple[float, str]] = {}

    def refresh(self) -> None:
        """Look into the ledger and load what is new. What cannot be loaded or reached leaves what there is in its place."""
        try:
            self.keys = Keys(self.platform.ledger.all(ApiKey))
        except Exception as error:
            log.error("API keys cannot be read, those that are known go on: %s", error)
            return
        self.standing = MappingProxyType({name: self._refreshed(one) for name, one in self.pipelines.items()})
        self.refreshed_at = self.platform.clock.now()

    def _refreshed(self, pipeline: Pipeline) -> Standing:
        before = self.standing[pipeline.name]
        try:
            wanted = self._champion(pipeline)
            asked = rollout.current(pipeline, self.platform)
            first, trouble = self._version(pipeline, wanted, before)
            second, more = self._version(pipeline, asked.challenger if asked else None, before)
            fallback = before.fallback
            # Beside the champion that answers; where none can be loaded, beside the one that should: that is what it is for.
            answering = first or before.champion
            number = answering.number if answering else wanted
            if number is not None and (fallback is None or before.champion is None or before.champion.number != number):
                kept = self.platform.ledger.get(Fallback, pipeline.name, number)
                fallback = FallbackModel.from_json(kept.model) if kept else fallback
        except Exception as error:
            log.exception("%s: its standing cannot be read, what is loaded goes on", pipeline.name)
            return Standing(before.champion, before.challenger, before.fallback, before.rollout, str(error))
        # A broken version never replaces a working one.
        return Standing(first or before.champion, second, fallback, asked, "; ".join(filter(None, (trouble, more))))

    def _champion(self, pipeline: Pipeline) -> int | None:
        promoted = champion.promotions(pipeline, self.platform)
        return promoted[-1].model_version if promoted else None

    def _version(self, pipeline: Pipeline, number: int | None, before: Standing) -> tuple[Version | None, str]:
        if number is None:
            return None, ""
        for there in (before.champion, before.challenger):
            if there is not None and there.number == number:
                return there, ""
        last = self._failed.get((pipeline.name, number))
        if last is not None and time.monotonic() - last[0] < RETRY_SECONDS:
            return None, last[1]
        try:
            made = self._load(pipeline, number)
        except Exception as error:
            log.exception("%s: version %d cannot be served", pipeline.name, number)
            told = f"version {number} cannot be served: {error}"[:MOST_TOLD]
            self._failed[pipeline.name, number] = (time.monotonic(), told)
            return None, told
        log.info("%s: version %d is loaded and checked", pipeline.name, number)
        return made, ""

    def _load(self, pipeline: Pipeline, number: int) -> Version:
        """Fetch a version, check it on its canned rows, which also warms it."""
        registry = self.platform.registry
        ref = registry.version(places.registered_model(pipeline), number)
        model = registry.load_model(ref)
        row = SingleRow(model)
        canned = registry.canned_rows(ref)
        if canned is not None:
            _check(row, pq.read_table(canned).slice(0, MOST_CANNED), f"{ref.name} version {number}")
        return Version(number, ref.digest, model, row, self.platform.clock.now())


def _check(row: SingleRow, canned: Any, name: str) -> None:
    columns = [canned[feature].to_pylist() for feature in row.feature_names]
    for values, score in zip(zip(*columns, strict=True), canned["score"].to_pylist(), strict=True):
        if (got := row(values).score) != score:
            raise BrokenArtifact(f"{name} answers {got!r} on a canned row and answered {score!r} when it was made")
