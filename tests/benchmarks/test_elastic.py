"""When replicas are started and ended."""

import pytest

from benchmarks.elastic import wanted


@pytest.mark.parametrize(
    ("running", "usage", "wants"),
    [
        # Kubernetes' own examples: twice the target doubles the replicas, half of it halves them.
        (2, [0.2, 0.2], 4),
        (4, [0.05] * 4, 2),
        # Close to the target nothing changes, in either direction.
        (3, [0.11, 0.1, 0.1], 3),
        (3, [0.09, 0.1, 0.1], 3),
        # It is the mean that counts, and a part of a replica is one.
        (2, [0.3, 0.0], 3),
        (3, [0.08, 0.08, 0.06], 3),
        # At most doubled, at most as many as may, at least one.
        (1, [9.0], 2),
        (4, [9.0] * 4, 5),
        (2, [0.0, 0.0], 1),
    ],
)
def test_as_many_replicas_as_the_mean_usage_calls_for(running: int, usage: list[float], wants: int) -> None:
    assert wanted(running, usage, target=0.1, most=5) == wants
