"""NannyML's datasets, and its own estimates of them. Runs in the environment that `benchmarks.drift_tools` makes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
from nannyml import CBPE, datasets

# Each with the outcome and the chance that a model gave it.
SETS = {
    "car loans": ("load_synthetic_car_loan_dataset", "repaid", "y_pred_proba", "y_pred"),
    "employment in Massachusetts": ("load_us_census_ma_employment_data", "employed", "predicted_probability", "prediction"),
}


def main(folder: Path, rows: int) -> None:
    """Write each set's score and label to two Parquet files, and print NannyML's estimated AUC of each chunk as JSON."""
    estimated = {}
    for name, (load, label, score, decision) in SETS.items():
        reference, current, outcomes = getattr(datasets, load)()
        current = current.assign(**{label: outcomes[label].to_numpy()})
        for part, frame in (("reference", reference), ("current", current)):
            pd.DataFrame({"score": frame[score], "label": frame[label] == 1}).to_parquet(folder / f"{name}.{part}.parquet")
        cbpe = CBPE(
            metrics=["roc_auc"],
            y_true=label,
            y_pred_proba=score,
            y_pred=decision,
            problem_type="classification_binary",
            chunk_size=rows,
        )
        cbpe.fit(reference)
        found = cbpe.estimate(current).filter(period="analysis").to_df()
        estimated[name] = found[("roc_auc", "value")].tolist()
    print(json.dumps(estimated))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
