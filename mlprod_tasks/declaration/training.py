"""How a model is trained: the windows in time, the candidates, the fallback."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.gate import Metric
from mlprod_tasks.declaration.learner import Learner, LightGBM, quantile_of
from mlprod_tasks.declaration.search import Search


@declared
class Model:
    """How the model is trained.

    Candidates are fitted to the training window, and the best one on the validation window is the model.

    candidates: each is fitted, then calibrated on the validation window; the one with the best `choose_by` there is the model.
    The test window is not used for this choice.
    categorical: features coded as integers, with codes learned on training rows. Text features always are.
    calibration: how scores are turned into probabilities; of classes, those of each class, then scaled to sum to 1. A
    regression has none.
    choose_by: the metric by which candidates are compared; None takes log_loss, for a regression mae, for a quantile
    pinball.
    weights: the weight of a row in fitting: "none": all equal; "balanced": both classes equal in total; a number: the weight of
    a positive, with 1 for a negative. Calibration is never weighted, so probabilities stay right.
    coverage: of a regression, the share of outcomes that the intervals of predictions are to hold, such as 0.9; None: no
    intervals. An interval reaches from the prediction as far as errors did on the validation window (split conformal
    prediction), by the same distances for every row. It holds that share if errors stay as they were there, which the metric
    `interval_coverage` checks on the test window, and the watch of the same name at every tick.
    half_life: the age at which a training row has half the weight; None: all equal.
    warm_update: also continue the champion's trees on the new training rows, as the candidate 'lightgbm_continued'.
    segment_by: a text feature; each of its values with enough training rows gets a separate model, beside a global one.
    least_segment_rows: the number of training rows that a segment needs for a separate model.
    max_unusable_share: the largest share of a window's rows that may be left out of a training because a feature is infinite,
    or a feature or the label cannot be computed. When scoring, the fallback answers such rows.
    search: how to search for better parameters; None keeps the declared ones.
    seed: the seed of all random numbers.
    threads: the number of threads; None takes all cores but one, because boosting on all cores is slower if another process is
    busy.
    """

    candidates: tuple[Learner, ...] = (LightGBM(),)
    categorical: tuple[str, ...] = ()
    calibration: Literal["isotonic", "sigmoid", "none"] = "isotonic"
    choose_by: Metric | None = None
    weights: Literal["none", "balanced"] | float = "none"
    coverage: float | None = None
    half_life: timedelta | None = None
    warm_update: bool = False
    segment_by: str | None = None
    least_segment_rows: int = 5000
    max_unusable_share: float = 0.01
    search: Search | None = None
    seed: int = 0
    threads: int | None = None

    @property
    def quantile(self) -> float | None:
        """The quantile of outcomes that is predicted, if a candidate's objective is one; else None."""
        return next((one for learner in self.candidates if (one := quantile_of(learner)) is not None), None)

    def candidate(self, name: str) -> Learner:
        """The candidate of that name. Raises: KeyError."""
        for learner in self.candidates:
            if learner.name == name:
                return learner
        raise KeyError(name)


@declared
class RateTable:
    """The fallback model: the smoothed outcome rate of the training rows, per group of features of the row itself.

    It uses no trailing or as-of features, so it can score when those are not available.

    by: the features that define a group; () chooses one: the first text of the row itself or of a look-up, else its first whole
    number or yes or no; where there is none, all rows are one group.
    smoothing: the weight, in rows, of the overall rate.
    """

    by: tuple[str, ...]
    smoothing: float = 50.0


@declared
class MeanTable:
    """The fallback model of a regression: the smoothed mean outcome of training rows, per group of features of the row itself.

    Where a candidate predicts a quantile, the smoothed quantile.

    It uses no trailing or as-of features, so it can predict when those are not available.

    by: the features that define a group; () chooses one: the first text of the row itself or of a look-up, else its first whole
    number or yes or no; where there is none, all rows are one group.
    smoothing: the weight, in rows, of the overall mean.
    """

    by: tuple[str, ...]
    smoothing: float = 50.0


@declared
class ShareTable:
    """The fallback model of classes: the smoothed share of each class among training rows, per group of features of the row.

    It uses no trailing or as-of features, so it can predict when those are not available.

    by: the features that define a group; () chooses one: the first text of the row itself or of a look-up, else its first whole
    number or yes or no; where there is none, all rows are one group.
    smoothing: the weight, in rows, of the overall shares.
    """

    by: tuple[str, ...]
    smoothing: float = 50.0
