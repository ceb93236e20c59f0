"""What a policy would have earned, told from rows that another one chose, where what it did earn is known as well.

The small Open Bandit Dataset (Saito et al., NeurIPS 2021) logs a week of a fashion shop's recommendations under two policies
side by side: uniform, and Thompson sampling. It lies in a wheel that is not among the dependencies, and is read from it as it
is:

    pip download --no-deps --dest build/packages obp==0.4.1
    python -m benchmarks.bandits --wheel build/packages/obp-0.4.1-py3-none-any.whl
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from benchmarks.size import sized
from mlprod_tasks.statistics.off_policy import Logged, NoOverlap, Value, evaluate, mean_value

Floats = NDArray[np.float64]
CAMPAIGNS = ("all", "men", "women")
POSITIONS = 3  # items are shown side by side; each is a row
DRAWS = sized(100_000, 2_000)


def off_policy(wheel: Path) -> None:
    """Print for each campaign what each policy earned, and what the rows of the other one tell of it."""
    print("| campaign, policy | its own rows | the other's rows: IPS | SNIPS | doubly robust | they tell as much as |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with zipfile.ZipFile(wheel) as files:
        priors = yaml.safe_load(files.read("obp/policy/conf/prior_bts.yaml"))
        for campaign in CAMPAIGNS:
            uniform, thompson = (_rows(files, policy, campaign) for policy in ("random", "bts"))
            target = thompson_shares(priors[campaign])
            print(_line(f"{campaign}, Thompson", thompson, uniform, target[:, uniform["position"].to_numpy() - 1].T))
            print(_line(f"{campaign}, uniform", uniform, thompson, np.full(len(target), 1 / len(target))))


def thompson_shares(prior: dict[str, list[float]], draws: int = DRAWS) -> Floats:
    """How often Thompson sampling shows each item at each position, (items, positions): the items of the largest draws."""
    random = np.random.default_rng(1)
    drawn = random.beta(prior["alpha"], prior["beta"], (draws, len(prior["alpha"])))
    best = np.argsort(-drawn, axis=1)[:, :POSITIONS]
    return np.stack([np.bincount(best[:, at], minlength=drawn.shape[1]) for at in range(POSITIONS)], axis=1) / draws


def _rows(files: zipfile.ZipFile, policy: str, campaign: str) -> pd.DataFrame:
    with files.open(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv") as file:
        return pd.read_csv(file, usecols=["item_id", "position", "click", "propensity_score"])


def _logged(rows: pd.DataFrame) -> Logged:
    return Logged(rows["item_id"].to_numpy(), rows["click"].to_numpy(float), rows["propensity_score"].to_numpy(float))


def _line(name: str, own: pd.DataFrame, others: pd.DataFrame, target: Floats) -> str:
    itself = _per_1000(mean_value(own["click"].to_numpy(float), None))
    try:
        found = evaluate(_logged(others), target)
    except NoOverlap as refused:
        return f"| {name} | {itself} | refused: {refused} | | | |"
    told = " | ".join(map(_per_1000, (found.ips, found.snips, found.doubly_robust)))
    return f"| {name} | {itself} | {told} | {found.effective:,.0f} of {found.rows:,} rows |"


def _per_1000(one: Value) -> str:
    low, high = one.interval(0.05)
    return f"{1000 * one.value:.1f} ({1000 * low:.1f} to {1000 * high:.1f})"
