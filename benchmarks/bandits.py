"""What bandits earn, and what rows that one policy chose tell of another."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.flight_bandits import regret
from benchmarks.open_bandit import off_policy


def main() -> None:
    """Print what bandits lose on replayed flights, and what rows that one policy chose tell of another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, help="the wheel of obp 0.4.1, with the Open Bandit Dataset in it")
    parser.add_argument("--small", action="store_true", help="few seeds and draws: only to see that it runs")
    given = parser.parse_args()
    if given.wheel is not None:
        print("clicks in 1,000 recommendations of the small Open Bandit Dataset, with 95 % intervals\n")
        off_policy(given.wheel)
    regret()


if __name__ == "__main__":
    main()
