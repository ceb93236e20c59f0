"""The trials of a search, which its workers share through files.

Each place of the budget is used once, even if workers are killed.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalStorage
from optuna.trial import TrialState

from mlprod_tasks.declaration.search import Between, OneOf, Range, Search
from mlprod_tasks.platform.files import locked
from mlprod_tasks.training.search_journal import Journal

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

# Two attributes of each trial, each written in one step. CLAIM: place in the budget, worker, start. END: duration and note.
# A failed trial without a note was lost with its worker: its place is used again.
CLAIM, END = "claim", "end"
TIMES_LOST = 3  # a trial that kills its worker so often counts as used
LEAST_TO_COMPARE = 5  # trials at the same point before one is cut as worse than their median


@dataclass(frozen=True)
class Claim:
    """A trial to run: candidate, place in the candidate's budget, and values to try."""

    candidate: str
    place: int
    parameters: dict[str, Any]
    trial: Trial
    began: float  # seconds since 1970


@dataclass(frozen=True)
class EndedTrial:
    """A trial that ended.

    loss: None if it failed, the last reported one if it was cut. note: why it failed or was cut.
    """

    candidate: str
    place: int
    parameters: dict[str, Any]
    loss: float | None
    state: str  # 'complete', 'pruned' or 'failed'
    note: str
    began: float  # seconds since 1970
    seconds: float
    worker: int


class Trials:
    """The studies of a search, one per candidate, in a folder that workers share.

    key: a hash of what losses depend on besides the parameters; trials with another key are ignored. spaces, declared: by
    candidate, the ranges and the declared values of its fields.

    Claims and signs of life are locks that the system frees when their process ends: a trial of a killed worker is noticed at
    once, and one of a living worker is never taken away.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        search: Search,
        spaces: Mapping[str, Mapping[str, Range]],
        declared: Mapping[str, Mapping[str, Any]],
        seed: int,
        worker: int = 0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.key, self.search, self.seed, self.worker = folder, key, search, seed, worker
        self.spaces, self.declared = spaces, declared
        self.sign = f"{worker}-{uuid.uuid4().hex}"

    @cached_property
    def studies(self) -> dict[str, Study]:
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would log each trial a second time
        storage = JournalStorage(Journal(str(self.folder / "journal.jsonl")))
        return {
            name: optuna.create_study(
                storage=storage,
                study_name=f"{name}-{self.key[:16]}",
                pruner=WorseThanMedian(),
                direction="minimize",
                load_if_exists=True,
            )
            for name in self.spaces
        }

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold this worker's sign of life."""
        sign = self._sign(self.sign)
        with ExitStack() as locks:
            with self.claiming():
                locks.enter_context(locked(sign))
            try:
                yield
            finally:
                sign.unlink(missing_ok=True)

    def claim(self) -> Claim | None:
        """Claim the next free place of the budget.

        None if there is none, or no time left.
        """
        with self.claiming():
            self._end_lost_trials()
            taken = {name: self._used_places(study) for name, study in self.studies.items()}
            late = self.seconds_left() <= 0
            for name in sorted(taken, key=lambda name: len(taken[name])):  # the candidate with the fewest trials first
                place = next(place for place in range(len(taken[name]) + 1) if place not in taken[name])
                # The declared values are always tried, to have something to compare with.
                if place == 0 or not (late or (self.search.trials is not None and place >= self.search.trials)):
                    return self._claim_place(name, place)
        return None

    def _claim_place(self, name: str, place: int) -> Claim:
        study, space = self.studies[name], self.spaces[name]
        # A new sampler for each place: its values depend on the earlier trials, not on the worker.
        study.sampler = optuna.samplers.TPESampler(seed=_seed(self.seed, name, place))
        if place == 0 and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial({field: _to_optuna(space[field], self.declared[name][field]) for field in space})
        trial = study.ask({field: _distribution(range_) for field, range_ in space.items()})
        began = time.time()
        trial.set_user_attr(CLAIM, {"worker": self.sign, "place": place, "began": began})
        return Claim(name, place, _from_optuna(space, trial.params), trial, began)

    def tell(self, claim: Claim, state: TrialState, loss: float | None = None, note: str = "") -> None:
        """End a trial. A failed one without a note is run again."""
        claim.trial.set_user_attr(END, {"seconds": time.time() - claim.began, "said": note})
        self.studies[claim.candidate].tell(claim.trial, loss, state)

    def ended(self) -> list[EndedTrial]:
        """Return every trial that ended and was not lost, by candidate and place."""
        return [
            _ended_trial(name, trial, self.spaces[name])
            for name, study in self.studies.items()
            for trial in sorted(_with_place(study), key=_place)
            if trial.state.is_finished()
        ]

    def over(self) -> bool:
        """Whether no trial is running and none will follow."""
        with self.claiming():
            self._end_lost_trials()
            if any(trial.state == TrialState.RUNNING for study in self.studies.values() for trial in _all_trials(study)):
                return False
            taken = [self._used_places(study) for study in self.studies.values()]
            spent = self.search.trials is not None and all(len(places) >= self.search.trials for places in taken)
            return spent or (self.seconds_left() <= 0 and all(taken))

    def seconds_left(self) -> float:
        """Return what is left of the declared minutes, used while any worker ran."""
        if self.search.minutes is None:
            return float("inf")
        now = time.time()
        spans = sorted(
            (began, began + trial.user_attrs[END]["seconds"] if END in trial.user_attrs else now)
            for study in self.studies.values()
            for trial in _with_place(study)
            for began in (trial.user_attrs[CLAIM]["began"],)
        )
        spent, until = 0.0, 0.0
        for begin, end in spans:
            spent += max(0.0, end - max(begin, until))
            until = max(until, end)
        return 60 * self.search.minutes - spent

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Let one worker at a time claim."""
        with locked(self.folder / "claim.lock"):
            yield

    def _used_places(self, study: Study) -> set[int]:
        """Return the places whose trials have ended or are running."""
        lost = [_place(trial) for trial in _all_trials(study) if CLAIM in trial.user_attrs and _is_lost(trial)]
        return {_place(trial) for trial in _with_place(study)} | {place for place in lost if lost.count(place) >= TIMES_LOST}

    def _end_lost_trials(self) -> None:
        """End the trials of dead workers. Call while claiming, when no living worker is in the middle of a claim."""
        for study in self.studies.values():
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if CLAIM not in trial.user_attrs or not self._is_alive(trial.user_attrs[CLAIM]["worker"]):
                    study.tell(trial.number, state=TrialState.FAIL)

    def _is_alive(self, sign: str) -> bool:
        path = self._sign(sign)
        if not path.exists():
            return False
        try:
            with locked(path, wait=False):
                path.unlink(missing_ok=True)
        except BlockingIOError:
            return True
        return False

    def _sign(self, sign: str) -> Path:
        return self.folder / f"{sign}.alive"


class WorseThanMedian(optuna.pruners.BasePruner):
    """Cut a trial that is worse than the median of completed trials at the same point.

    Optuna's own median rule compares the best loss so far: with several folds, an easy one would hide all later ones.
    """

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None:
            return False
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if step in other.intermediate_values
        ]
        return len(others) >= LEAST_TO_COMPARE and trial.intermediate_values[step] > median_low(others)


def _all_trials(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False)


def _is_lost(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and not trial.user_attrs.get(END, {}).get("said")


def _with_place(study: Study) -> list[FrozenTrial]:
    """Return the trials that use a place in the budget."""
    return [trial for trial in _all_trials(study) if CLAIM in trial.user_attrs and not _is_lost(trial)]


def _place(trial: FrozenTrial) -> int:
    return int(trial.user_attrs[CLAIM]["place"])


def _ended_trial(name: str, trial: FrozenTrial, space: Mapping[str, Range]) -> EndedTrial:
    claim, end = trial.user_attrs[CLAIM], trial.user_attrs[END]
    return EndedTrial(
        name,
        _place(trial),
        _from_optuna(space, trial.params),
        None if trial.value is None else float(trial.value),
        {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(trial.state, "failed"),
        end["said"],
        claim["began"],
        end["seconds"],
        int(claim["worker"].partition("-")[0]),
    )


def _distribution(range_: Range) -> BaseDistribution:
    if isinstance(range_, OneOf):
        return CategoricalDistribution([_to_optuna(range_, choice) for choice in range_.choices])
    if isinstance(range_.low, int) and isinstance(range_.high, int):
        return IntDistribution(range_.low, range_.high, log=range_.log)
    return FloatDistribution(float(range_.low), float(range_.high), log=range_.log)


def _to_optuna(range_: Range, value: Any) -> Any:
    """Return a value as Optuna stores it: for a choice its text, as it may be a tuple."""
    return value if isinstance(range_, Between) else repr(value)


def _from_optuna(space: Mapping[str, Range], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a trial, by field, from those that Optuna stores."""
    return {
        field: stored[field]
        if isinstance(range_, Between)
        else {repr(choice): choice for choice in range_.choices}[stored[field]]
        for field, range_ in space.items()
        if field in stored
    }


def _seed(seed: int, name: str, place: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}:{place}".encode()).digest()[:4], "big")
