"""The trials of a search, shared by its workers through files: each place of the budget is taken once, killed or not."""

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

# Kept with each trial, each written at once: its place in the budget, who makes it, since when; how long it took, what is to be
# said of it. A trial that failed with nothing said was lost: its place is given again.
CLAIM, END = "claim", "end"
TIMES_LOST = 3  # a trial that kills its worker each time takes its place in the budget all the same
LEAST_TO_COMPARE = 5  # trials at the same point before one is cut for being worse than their median


@dataclass(frozen=True)
class Claim:
    """A trial to make: of which candidate, its place in the candidate's budget, and the values to try."""

    candidate: str
    place: int
    parameters: dict[str, Any]
    trial: Trial
    began: float  # seconds since 1970


@dataclass(frozen=True)
class EndedTrial:
    """A trial that ended. loss is None where it failed; of one that was cut, it is the last it reported."""

    candidate: str
    place: int
    parameters: dict[str, Any]
    loss: float | None
    state: str  # 'complete', 'pruned' or 'failed'
    said: str
    began: float  # seconds since 1970
    seconds: float
    worker: int


class Trials:
    """The studies of one search, one a candidate, in a folder that its workers share.

    key: what the losses depend on besides the parameters; trials of another key are not seen. spaces and declared: by
    candidate, the ranges and the declared values of its fields.

    Every claim is made under a lock that the system gives back when its holder dies, and so is each worker's sign of life: a
    trial that a killed worker left running is known by it at once, and one of a living worker is never taken away.
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
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # its own lines would say each trial a second time
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
        """Show the other workers that this one lives, while it does."""
        sign = self._sign(self.sign)
        with ExitStack() as held:
            with self.claiming():
                held.enter_context(locked(sign))
            try:
                yield
            finally:
                sign.unlink(missing_ok=True)

    def claim(self) -> Claim | None:
        """Take the next place of the budget that nobody has; None where there is none, or no time."""
        with self.claiming():
            self._free_the_lost()
            taken = {name: self._taken(study) for name, study in self.studies.items()}
            late = self.seconds_left() <= 0
            for name in sorted(taken, key=lambda name: len(taken[name])):  # the one that has had the fewest
                place = next(place for place in range(len(taken[name]) + 1) if place not in taken[name])
                # The declared values are tried at any rate: there must be something to compare with.
                if place == 0 or not (late or (self.search.trials is not None and place >= self.search.trials)):
                    return self._ask(name, place)
        return None

    def _ask(self, name: str, place: int) -> Claim:
        study, space = self.studies[name], self.spaces[name]
        # A sampler of its own for each place: what it tries follows from the trials before, not from who asks.
        study.sampler = optuna.samplers.TPESampler(seed=_seed(self.seed, name, place))
        if place == 0 and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial({field: _shown(space[field], self.declared[name][field]) for field in space})
        trial = study.ask({field: _distribution(range_) for field, range_ in space.items()})
        began = time.time()
        trial.set_user_attr(CLAIM, {"worker": self.sign, "place": place, "began": began})
        return Claim(name, place, _meant(space, trial.params), trial, began)

    def tell(self, claim: Claim, state: TrialState, loss: float | None = None, said: str = "") -> None:
        """End a trial. One that failed with nothing said is made again."""
        claim.trial.set_user_attr(END, {"seconds": time.time() - claim.began, "said": said})
        self.studies[claim.candidate].tell(claim.trial, loss, state)

    def made(self) -> list[EndedTrial]:
        """Every trial that ended and was not lost, by candidate and place."""
        return [
            _ended(name, trial, self.spaces[name])
            for name, study in self.studies.items()
            for trial in sorted(_kept(study), key=_place)
            if trial.state.is_finished()
        ]

    def over(self) -> bool:
        """Whether no trial is under way and none is to come."""
        with self.claiming():
            self._free_the_lost()
            if any(trial.state == TrialState.RUNNING for study in self.studies.values() for trial in _all(study)):
                return False
            taken = [self._taken(study) for study in self.studies.values()]
            spent = self.search.trials is not None and all(len(places) >= self.search.trials for places in taken)
            return spent or (self.seconds_left() <= 0 and all(taken))

    def seconds_left(self) -> float:
        """Of the declared minutes: what is left after the times at which at least one worker was at it."""
        if self.search.minutes is None:
            return float("inf")
        now = time.time()
        spans = sorted(
            (began, began + trial.user_attrs[END]["seconds"] if END in trial.user_attrs else now)
            for study in self.studies.values()
            for trial in _kept(study)
            for began in (trial.user_attrs[CLAIM]["began"],)
        )
        spent, until = 0.0, 0.0
        for begin, end in spans:
            spent += max(0.0, end - max(begin, until))
            until = max(until, end)
        return 60 * self.search.minutes - spent

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """One worker at a time."""
        with locked(self.folder / "claim.lock"):
            yield

    def _taken(self, study: Study) -> set[int]:
        """The places that are made or being made."""
        lost = [_place(trial) for trial in _all(study) if CLAIM in trial.user_attrs and _is_lost(trial)]
        return {_place(trial) for trial in _kept(study)} | {place for place in lost if lost.count(place) >= TIMES_LOST}

    def _free_the_lost(self) -> None:
        """End the trials of workers that live no more. Called while claiming, when no living worker is half-way to one."""
        for study in self.studies.values():
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if CLAIM not in trial.user_attrs or not self._lives(trial.user_attrs[CLAIM]["worker"]):
                    study.tell(trial.number, state=TrialState.FAIL)

    def _lives(self, sign: str) -> bool:
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
    """Cut a trial whose loss is worse than the median of the completed trials at the same point.

    Optuna's own median rule compares the best loss so far: with several folds, one that was easy would hide all later ones.
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


def _all(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False)


def _is_lost(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and not trial.user_attrs.get(END, {}).get("said")


def _kept(study: Study) -> list[FrozenTrial]:
    """The trials that have a place in the budget."""
    return [trial for trial in _all(study) if CLAIM in trial.user_attrs and not _is_lost(trial)]


def _place(trial: FrozenTrial) -> int:
    return int(trial.user_attrs[CLAIM]["place"])


def _ended(name: str, trial: FrozenTrial, space: Mapping[str, Range]) -> EndedTrial:
    claim, end = trial.user_attrs[CLAIM], trial.user_attrs[END]
    return EndedTrial(
        name,
        _place(trial),
        _meant(space, trial.params),
        None if trial.value is None else float(trial.value),
        {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(trial.state, "failed"),
        end["said"],
        claim["began"],
        end["seconds"],
        int(claim["worker"].partition("-")[0]),
    )


def _distribution(range_: Range) -> BaseDistribution:
    if isinstance(range_, OneOf):
        return CategoricalDistribution([_shown(range_, choice) for choice in range_.choices])
    if isinstance(range_.low, int) and isinstance(range_.high, int):
        return IntDistribution(range_.low, range_.high, log=range_.log)
    return FloatDistribution(float(range_.low), float(range_.high), log=range_.log)


def _shown(range_: Range, value: Any) -> Any:
    """A value as Optuna keeps it: of a choice its text, since it may be a tuple."""
    return value if isinstance(range_, Between) else repr(value)


def _meant(space: Mapping[str, Range], shown: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a trial, by field, from what Optuna keeps."""
    return {
        field: shown[field]
        if isinstance(range_, Between)
        else {repr(choice): choice for choice in range_.choices}[shown[field]]
        for field, range_ in space.items()
        if field in shown
    }


def _seed(seed: int, name: str, place: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}:{place}".encode()).digest()[:4], "big")
