"""The features of a row at the time of a request, bit for bit those of batch scoring at that time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import date, datetime
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from mlprod_tasks.declaration import AtTick, Expression, Pipeline, Population
from mlprod_tasks.declaration.feature import names_of
from mlprod_tasks.declaration.reads import words_in
from mlprod_tasks.declaration.table import AS_OF
from mlprod_tasks.documents.formatting import length
from mlprod_tasks.online.entries import entry_reader
from mlprod_tasks.online.expressions import Computed, Expressions
from mlprod_tasks.online.fields import EPOCH_DAY, FieldsRefused, RequestFields
from mlprod_tasks.online.plan import EPOCH, MICROSECOND, GroupState, micros, plan, serving_of
from mlprod_tasks.online.store_cache import Generation, StoreCache
from mlprod_tasks.platform.online_store.protocol import OnlineStore

Answer = Literal["model", "fallback", "refuse", "absent"]
STRICTER: dict[Answer, int] = {"model": 0, "fallback": 1, "refuse": 2, "absent": 3}
SECOND = 1_000_000
MOST_BYTES = 256_000_000


class Features(NamedTuple):
    """The features of one row, and how reliable they are.

    values: in the order of `Pipeline.feature_names`: int, float, str, bool or None. ages: by group name, the seconds from the
    time up to which the store is complete to the time of the row, at least 0; None if unknown. age: the greatest of them; None
    if all are unknown. missing: features that the store does not have. stale: features whose age exceeds `stale_after`.
    answer: who answers by the declared policy: the model, the fallback, or nobody ('refuse'); the fallback also if an
    expression cannot be computed for the row, whose value is None then, as in batch. 'absent': nobody, because the key is not
    in the population at the moment, so that a batch of it would have no such row. reasons: why it is not the model, or why a
    value is not from the store.
    """

    values: tuple[Any, ...]
    ages: Mapping[str, float | None]
    age: float | None
    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    answer: Answer = "model"
    reasons: tuple[str, ...] = ()
    generation: int | None = None


class OnlineFeatures:
    """Computes the features of one use case on request.

    Create it once, at start; it is thread-safe. `fields` reads and checks a request's fields; `expressions` computes the
    declared expressions.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        store: OnlineStore,
        *,
        pseudonym_key: str = "",
        poll_seconds: float = 1.0,
        retry_seconds: float = 1.0,
        most_bytes: int = MOST_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pipeline = pipeline
        self.fields = RequestFields(pipeline, pseudonym_key)
        self.expressions = Expressions(pipeline)
        self._serving = serving_of(pipeline)
        assert self._serving.stale_after is not None
        self._stale_after = self._serving.stale_after // MICROSECOND
        self._cache = StoreCache(
            pipeline.name,
            store,
            poll_seconds=poll_seconds,
            retry_seconds=retry_seconds,
            most_bytes=most_bytes,
            monotonic=monotonic,
        )
        self._remote, self._look_up_seconds = store.remote, self._serving.look_up_within.total_seconds()
        self._groups = tuple((group, group.id.hex(), entry_reader(pipeline, group.feature)) for group in plan(pipeline))
        self._decoders = {group.id: answers.decode for group, _, answers in self._groups}
        self._values = picker(pipeline.feature_names)
        self._fresh_times: _FreshTimes | None = None
        self._defaults = {
            group.id: [self._serving.defaults.get(name) for name in names_of(group.feature)] for group, *_ in self._groups
        }
        words = words_in(*(feature.sql for feature in pipeline.features if isinstance(feature, Expression)))
        self._reads_tick = "tick" in words and isinstance(pipeline.predict_at, AtTick)
        # If nothing is missing, values are in one list: those of the groups, then those of the expressions.
        stored = [name for group, *_ in self._groups for name in group.names]
        self._read_by_expressions = [(name, i) for i, name in enumerate(stored) if name.lower() in words]
        self._population = None if pipeline.population is None else _Members(pipeline.population, len(stored) - 1)
        places = {name: i for i, name in enumerate([*stored, *self.expressions.names])}
        self._picked = picker([places[name] for name in pipeline.feature_names])

    def row(self, fields: Mapping[str, Any], moment: datetime) -> Features:
        """The features of one row as of `moment`.

        Nothing that became known at that time or later is used.

        Raises: FieldsRefused.
        """
        return self.rows([fields], moment)[0]

    def rows(self, many: Sequence[Mapping[str, Any]], moment: datetime) -> list[Features]:
        """The features of several rows, from one generation and with one read.

        Raises: FieldsRefused.

        If there is more than one row, problems name fields as `<position>.<field>`.
        """
        read = []
        problems = []
        for i, fields in enumerate(many):
            row, wrong = self.fields.read(fields)
            read.append(row)
            problems += [type(one)(f"{i}.{one.field}", one.reason) for one in wrong] if len(many) > 1 else wrong
        if problems:
            raise FieldsRefused(problems)
        return self.of(read, [micros(moment)] * len(read))

    def of(self, rows: Sequence[dict[str, Any]], moments: Sequence[int]) -> list[Features]:
        """The features of rows from `fields.read`, each as of its time in microseconds."""
        keys = self._keys_of(rows, moments)
        return self._all_features(rows, keys, moments, *self._cache.entries(_flat(keys), self._decoders))

    def at_hand(self, rows: Sequence[dict[str, Any]], moments: Sequence[int]) -> list[Features] | None:
        """Like `of`, but within microseconds.

        Returns None if a remote store would have to be read.
        """
        keys = self._keys_of(rows, moments)
        wanted = _flat(keys)
        cached: tuple[Generation | None, Mapping[bytes, Any]] | None = self._cache.at_hand(wanted)
        if cached is None and self._remote:
            return None
        return self._all_features(rows, keys, moments, *(cached or self._cache.entries(wanted, self._decoders)))

    async def within(self, rows: Sequence[dict[str, Any]], moments: Sequence[int], readers: Executor) -> list[Features]:
        """Like `of`, without blocking the event loop: a remote store is read in a thread of `readers`.

        If it does not answer within the declared `look_up_within`, cached entries are used.
        """
        features = self.at_hand(rows, moments)
        if features is not None:
            return features
        keys = self._keys_of(rows, moments)
        wanted = _flat(keys)
        reading = asyncio.get_running_loop().run_in_executor(readers, self._cache.entries, wanted, self._decoders)
        entries: tuple[Generation | None, Mapping[bytes, Any]]
        try:
            entries = await asyncio.wait_for(reading, self._look_up_seconds)
        except TimeoutError:
            entries = self._cache.without_the_store(wanted, self._look_up_seconds)
        return self._all_features(rows, keys, moments, *entries)

    def _keys_of(self, rows: Sequence[dict[str, Any]], moments: Sequence[int]) -> list[list[bytes | None]]:
        if self._population is not None:
            for row, moment in zip(rows, moments, strict=True):
                row[AS_OF] = moment
        return [[group.key_of(row) for group, *_ in self._groups] for row in rows]

    def _all_features(
        self,
        rows: Sequence[dict[str, Any]],
        keys: Sequence[Sequence[bytes | None]],
        moments: Sequence[int],
        generation: Generation | None,
        entries: Mapping[bytes, Any],
    ) -> list[Features]:
        features = []
        for row, of_row, moment in zip(rows, keys, moments, strict=True):
            fast = self._fast_features(row, of_row, moment, generation, entries) if generation is not None else None
            features.append(fast or self._features(row, of_row, moment, generation, entries))
        return features

    def _fast_features(
        self,
        row: dict[str, Any],
        keys: Sequence[bytes | None],
        moment: int,
        generation: Generation,
        entries: Mapping[bytes, Any],
    ) -> Features | None:
        """Like `_features` in half the time; None if anything may be missing or stale."""
        times = self._fresh_times
        if times is None or times.generation is not generation:
            times = self._fresh_times = _FreshTimes(generation, [id_ for _, id_, _ in self._groups], self._stale_after)
        if not times.exact_from <= moment <= times.fresh_to:
            return None
        values: list[Any] = []
        for (_, _, answers), key in zip(self._groups, keys, strict=True):
            if key is None:
                values += answers.values(None, moment)
            elif key in entries:
                values += answers.values(entries[key], moment)
            else:
                return None
        absent = self._population is not None and self._population.lacks(values)
        known = row.copy()
        for name, i in self._read_by_expressions:
            known[name] = values[i]
        computed = self._computed(known, moment)
        values += computed.values.values()
        moment_, ages, age = times.last_ages
        if moment_ != moment:  # all rows of a request have the same time
            late = {group.name: moment - generation.states[id_].complete_to for group, id_, _ in self._groups}
            ages = {name: max(us, 0) / SECOND for name, us in late.items()}
            age = max(ages.values(), default=None)
            times.last_ages = (moment, ages, age)  # in one assignment: another thread may compute another time
        if absent:
            assert self._population is not None
            return Features(self._picked(values), ages, age, (), (), "absent", (self._population.reason,), generation.number)
        if computed.failed:
            reasons = (_cannot_be_computed(computed.failed),)
            return Features(self._picked(values), ages, age, (), (), "fallback", reasons, generation.number)
        return Features(self._picked(values), ages, age, generation=generation.number)

    def _computed(self, known: dict[str, Any], moment: int) -> Computed:
        """The values of the declared expressions for a row."""
        known["predict_at"] = moment
        if self._reads_tick:
            name = self.pipeline.schedule.tick_at(EPOCH + moment * MICROSECOND).name
            known["tick"] = name.toordinal() - EPOCH_DAY if isinstance(name, date) else name
        return self.expressions.values(known)

    @property
    def generation(self) -> Generation | None:
        """The current generation of the store; None if it is empty or could never be read."""
        return self._cache.generation()

    @property
    def looks(self) -> tuple[int, int]:
        """The number of entries found in the cache, and of entries read from the store, since the start."""
        return self._cache.hits, self._cache.misses

    @property
    def failure(self) -> str | None:
        """Why the last read of the store failed; None if it succeeded."""
        return self._cache.failure

    def _features(
        self,
        row: dict[str, Any],
        keys: Sequence[bytes | None],
        moment: int,
        generation: Generation | None,
        entries: Mapping[bytes, Any],
    ) -> Features:
        ages: dict[str, float | None] = {}
        missing: list[str] = []
        stale: list[str] = []
        reasons: list[str] = []
        answer: Answer = "model"
        known = dict(row)
        for (group, id_, answers), key in zip(self._groups, keys, strict=True):
            state = None if generation is None else generation.states.get(id_)
            entry = None if key is None else entries.get(key)
            unread = key is not None and key not in entries
            why = self._why_missing(generation, state, unread, moment)
            if why or state is None:
                ages[group.name] = None
                missing += group.names
                reasons.append(f"{group.name} is missing: {why}")
                policy, default = self._serving.missing, True
            else:
                late = moment - state.complete_to
                ages[group.name] = late / SECOND if late > 0 else 0.0
                policy, default = "default", False
                if late > self._stale_after:
                    stale += group.names
                    reasons.append(f"{group.name} is stale: complete up to {EPOCH + state.complete_to * MICROSECOND}")
                    policy, default = self._stale_policy
            if policy != "default" and STRICTER[policy] > STRICTER[answer]:
                answer = policy
            known.update(zip(group.names, self._defaults[group.id] if default else answers.values(entry, moment), strict=True))
        computed = self._computed(known, moment)
        known.update(computed.values)
        if computed.failed:
            reasons.append(_cannot_be_computed(computed.failed))
            answer = "refuse" if answer == "refuse" else "fallback"
        if self._population is not None:
            name = self._groups[-1][0].name
            if known[name] == 0 and (name not in stale or self._serving.stale == "use"):  # else it may have entered since
                answer, reasons = "absent", [self._population.reason]
        values = self._values(known)
        number = None if generation is None else generation.number
        age = max((one for one in ages.values() if one is not None), default=None)
        return Features(values, ages, age, tuple(missing), tuple(stale), answer, tuple(reasons), number)

    @property
    def _stale_policy(self) -> tuple[Literal["default", "fallback", "refuse"], bool]:
        """The policy if a feature is stale, and whether the default replaces its value."""
        stale = self._serving.stale
        return ("default", stale == "default") if stale == "default" or stale == "use" else (stale, False)

    def _why_missing(self, generation: Generation | None, state: GroupState | None, unread: bool, moment: int) -> str:
        """Why the store has no value of a group for a row; '' if it has."""
        if state is None:
            return self._why_no_group(generation)
        if unread:
            return "the online store does not answer"
        if moment < state.exact_from:
            return f"the online store covers times from {EPOCH + state.exact_from * MICROSECOND} on"
        return ""

    def _why_no_group(self, generation: Generation | None) -> str:
        if self.failure is not None and generation is None:
            return "the online store does not answer"
        if generation is None:
            return f"the online store was never filled: run `mlprod online fill {self.pipeline.name}`"
        return "the online store was filled by another declaration: fill it again"


class _Members:
    """Which keys are in the population at a moment, by the value of its group; place: of it among those of all groups."""

    def __init__(self, population: Population, place: int) -> None:
        self._place = place
        lately = "" if population.within is None else f" in the {length(population.within)}"
        which = "row that counts" if population.where else "row"
        self.reason = f"not in {population.name}: no {which} of {population.seen_in!r} became known{lately} before the moment"

    def lacks(self, values: Sequence[Any]) -> bool:
        return bool(values[self._place] == 0)


class _FreshTimes:
    """The times at which no feature of a generation is missing or stale."""

    def __init__(self, generation: Generation, groups: Sequence[str], stale_after: int) -> None:
        states = [generation.states.get(id_) for id_ in groups]
        known = [state for state in states if state is not None]
        self.generation = generation
        self.exact_from = max((state.exact_from for state in known), default=-(2**63))
        # If a group is missing, there is no such time.
        self.fresh_to = (
            min((state.complete_to + stale_after for state in known), default=2**63) if known == states else -(2**63) - 1
        )
        self.last_ages: tuple[int | None, Mapping[str, float], float | None] = (None, {}, None)


def _cannot_be_computed(name: str) -> str:
    return f"feature {name!r} cannot be computed: a cast that fails, a number out of range or a division by zero"


def picker(places: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Make a function that returns the values at these keys or positions as a tuple."""
    if len(places) == 1:
        (only,) = places
        return lambda known: (known[only],)
    return itemgetter(*places)


def _flat(keys: Sequence[Sequence[bytes | None]]) -> list[bytes]:
    return [key for of_row in keys for key in of_row if key is not None]
