"""The clocks of tests: they stand where a test sets them."""

from datetime import UTC, datetime, timedelta


class SetClock:
    """Stands at `at`, which a test may set anew, and goes on by `step` just before each answer."""

    def __init__(self, at: datetime, step: timedelta = timedelta(0)) -> None:
        self.at, self.step = at, step

    def now(self) -> datetime:
        self.at += self.step
        return self.at


def ahead(by: timedelta) -> SetClock:
    """Return a clock that stands this far ahead of the machine's; behind it where `by` is negative."""
    return SetClock(datetime.now(UTC) + by)


class SetMonotonic:
    """Seconds that a test sets, to be called as `time.monotonic` is."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds
