"""Evidently's and NannyML's drift of one partition, timed. Runs in the environment that `benchmarks.drift_tools` makes."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable

import pandas as pd


def evidently(reference: pd.DataFrame, numbers: list[str], texts: list[str]) -> Callable[[pd.DataFrame], object]:
    """The drift preset by PSI. Its reference is rows: it keeps no profile of them."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    before = Dataset.from_pandas(reference, data_definition=definition)
    report = Report([DataDriftPreset(method="psi")])

    def run(current: pd.DataFrame) -> object:
        return report.run(Dataset.from_pandas(current, data_definition=definition), before).dict()

    return run


def nannyml(reference: pd.DataFrame, numbers: list[str], texts: list[str]) -> Callable[[pd.DataFrame], object]:
    """Univariate drift by Jensen-Shannon distance, its default; the partition is one chunk."""
    from nannyml import UnivariateDriftCalculator

    calculator = UnivariateDriftCalculator([*numbers, *texts], treat_as_categorical=texts, chunk_number=1).fit(reference)
    return lambda current: calculator.calculate(current).to_df()


def main() -> None:
    """Print the seconds of reading the partition and comparing it, the best of the repeats; imports are not counted."""
    tool, reference, current, repeats = sys.argv[1:]
    warnings.simplefilter("ignore")
    rows = pd.read_parquet(reference)
    numbers = [name for name in rows.columns if pd.api.types.is_numeric_dtype(rows[name])]
    texts = [name for name in rows.columns if name not in numbers]
    compare = {"evidently": evidently, "nannyml": nannyml}[tool](rows, numbers, texts)
    taken = []
    for _ in range(int(repeats)):
        began = time.perf_counter()
        compare(pd.read_parquet(current, columns=list(rows.columns)))
        taken.append(time.perf_counter() - began)
    print(json.dumps(min(taken)))


if __name__ == "__main__":
    main()
