"""What bandits earn, and what rows that one policy chose tell of another."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.open_bandit import off_policy


def main() -> None:
    """Print what rows that one policy chose tell of another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel of obp 0.4.1, with the Open Bandit Dataset in it")
    parser.add_argument("--small", action="store_true", help="few draws: only to see that it runs")
    given = parser.parse_args()
    print("clicks in 1,000 recommendations of the small Open Bandit Dataset, with 95 % intervals\n")
    off_policy(given.wheel)


if __name__ == "__main__":
    main()
