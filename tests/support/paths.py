"""Where the files of the project lie that tests read."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FLIGHTS = REPOSITORY / "pipelines" / "flight_delays.py"  # the use case that the project ships
