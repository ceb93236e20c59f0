"""`make bench`: every benchmark in a process of its own, one after the other; ratios measured in one run."""

import os
import platform
import subprocess
import sys

BENCHMARKS = (
    "features",
    "first_look",
    "small_ticks",
    "large_tick",
    "aggregates",
    "training",
    "training_memory",
    "scoring",
    "monitoring",
    "drift_tools",
    "foreign_estimates",
    "online",
    "serving",
    "parsing",
    "commands",
    "faults",
    "elastic",
    "power",
    "quiet_ticks",
    "intervals",
    "results",
    "groceries",
    "airports",
    "experiments",
    "bandits",
    "experiment_reading",
    "experiment_requests",
)


def main() -> int:
    """Run all, or those named as arguments. Exit status 1 if one of them failed to run; a missed goal is printed."""
    chosen = sys.argv[1:] or BENCHMARKS
    if unknown := [name for name in chosen if name not in BENCHMARKS]:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB, {platform.system()}\n",
        flush=True,
    )
    failed = [name for name in chosen if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode]
    for name in failed:
        print(f"benchmark {name} did not run to its end", file=sys.stderr)
    return 1 if failed else 0


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


if __name__ == "__main__":
    sys.exit(main())
