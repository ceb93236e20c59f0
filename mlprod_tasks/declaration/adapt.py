"""How scores are kept right between trainings."""

from __future__ import annotations

from mlprod_tasks.declaration.declared import declared


@declared
class RowByRow:
    """A linear learner, by stochastic gradient descent, that takes each row once, as its outcome becomes known.

    It reads the champion's log odds, or its number, and features that are numbers. What it has learned is forgotten as it
    learns more. A candidate beside the intercept and slope, it answers where it would have been best on the ticks before.

    features: that it reads, numbers.
    rate: how far one row moves it; the larger, the faster it forgets.
    name: its name among the candidates.
    """

    features: tuple[str, ...]
    rate: float = 0.003
    name: str = "row_by_row"


@declared
class Adapt:
    """A small layer over the champion that learns from each tick's outcomes as they become known.

    A yes or no has an intercept and a slope of its log odds, a number a shift and a slope, several classes an intercept each
    and one slope. They are fitted anew at each tick to what was known then, older ticks with less weight. The layer answers at
    a tick only if it would have been better than the champion alone on the ticks before, each answered with what was known
    then; otherwise the champion's own scores stand. It belongs to a version: that of a new champion learns from the ticks of
    its test on, which it had not seen.

    half_life: after how many ticks outcomes count half; of several, the one that would have been best so far is used.
    prior: how many ticks' worth of outcomes say that the champion is right as it is.
    coverage: the least share of a tick's rows whose outcome is known; with less, the tick is not learned from. Ticks count as
    soon as that is reached.
    most: how far an intercept may go, in log odds; of numbers, how far the shift may go, in standard deviations of predictions.
    slopes: the lowest and the highest slope.
    window: how many ticks are looked back.
    fewest: on how many ticks the layer must have been tried before it may answer.
    confidence: of the interval of what it gains in log loss, or squared error, drawn by ticks, which must lie above 0; 0 asks
    for a gain on average. The layer is held close to the champion by `prior`, so that it costs little where it is not needed.
    learners: further candidates for a yes or no, or a number, that learn row by row.
    """

    half_life: float | tuple[float, ...] = (0.5, 1.0, 3.0, 7.0, 14.0, 28.0)
    prior: float = 2.0
    coverage: float = 0.8
    most: float = 1.5
    slopes: tuple[float, float] = (0.5, 1.5)
    window: int = 28
    fewest: int = 10
    confidence: float = 0.0
    learners: tuple[RowByRow, ...] = ()

    @property
    def half_lives(self) -> tuple[float, ...]:
        """The half-lives to choose among, ascending."""
        return tuple(sorted(self.half_life)) if isinstance(self.half_life, tuple) else (self.half_life,)

    @property
    def features(self) -> tuple[str, ...]:
        """The features that learners read, each once."""
        return tuple(dict.fromkeys(name for one in self.learners for name in one.features))
