"""Off-policy values of the Open Bandit Dataset are read from a wheel that is no dependency: here from one made alike."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.open_bandit import thompson_shares
from tests.support.paths import REPOSITORY

RATES = np.array([0.01, 0.02, 0.3, 0.05, 0.02])
PRIOR = {"alpha": [1.0, 2.0, 30.0, 5.0, 2.0], "beta": [99.0, 98.0, 70.0, 95.0, 98.0]}


def wheel(folder: Path) -> Path:
    """A wheel with the files of the data set, in which item 2 is clicked most."""
    random = np.random.default_rng(1)
    shares = thompson_shares(PRIOR, 20_000)
    path = folder / "obp-0.4.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as files:
        lines = [f"{name}:\n  alpha: {PRIOR['alpha']}\n  beta: {PRIOR['beta']}" for name in ("all", "men", "women")]
        files.writestr("obp/policy/conf/prior_bts.yaml", "\n".join(lines))
        for policy in ("random", "bts"):
            for campaign in ("all", "men", "women"):
                position = random.integers(1, 4, 5000)
                chances = np.full((5000, 5), 0.2) if policy == "random" else shares.T[position - 1]
                item = np.array([random.choice(5, p=one / one.sum()) for one in chances])
                rows = pd.DataFrame({"item_id": item, "position": position, "click": random.random(5000) < RATES[item]})
                rows["propensity_score"] = chances[np.arange(5000), item]
                files.writestr(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv", rows.astype({"click": int}).to_csv())
    return path


def test_the_uniform_rows_tell_what_the_thompson_policy_earned(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.bandits", "--small", "--wheel", str(wheel(tmp_path))]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ") and ", Thompson" in line]
    assert len(lines) == 3
    for line in lines:
        itself, ips, snips, robust = (float(cell.split("(")[0]) for cell in line.split("|")[2:6])
        assert max(abs(one - itself) for one in (ips, snips, robust)) < 30, line  # of about 120 clicks in 1,000
    assert "refused" in done.stdout  # item 0 is never shown by Thompson: nothing is known of it
