"""A version of a model that fails when it is asked."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NoReturn

from mlprod_tasks.serving.single_row import SingleRow


class FailingRow:
    """A version's single row that is loaded as it should be, and then fails."""

    def __init__(self, real: SingleRow) -> None:
        self._real, self.feature_names = real, real.feature_names

    def load(self, values: Sequence[Any]) -> SimpleNamespace:
        return SimpleNamespace(cache_key=self._real.load(values).cache_key, predict=self._fail)

    def _fail(self) -> NoReturn:
        raise RuntimeError("the amount 80.5 of Jane Doe")
