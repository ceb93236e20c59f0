"""What the plan of an experiment varies, as the ledger has it."""

from __future__ import annotations

from collections.abc import Sequence

from mlprod_tasks.experiments.assignment import Variant
from mlprod_tasks.platform.experiment_entries import ExperimentRun

VERSION, THRESHOLD = "version", "threshold"


def variants_written(run: ExperimentRun) -> tuple[Variant, ...]:
    """Return the variants of an experiment, the control first."""
    return tuple(Variant(**one) for one in run.plan["variants"])


def layers_of(variants: Sequence[Variant]) -> frozenset[str]:
    """Return what variants change of an answer: its version, its threshold, or both, as a hold-out does. The control first.

    Experiments that change different things may run on the same units: each is a layer of its own. One that changes nothing, as
    the champion against itself does, is in both, so that a row is in two at most.
    """
    control, *treated = variants
    changes = {
        VERSION: any(one.held_out or one.version != control.version for one in treated),
        THRESHOLD: any(one.held_out or one.threshold is not None for one in treated),
    }
    return frozenset(what for what, changed in changes.items() if changed) or frozenset(changes)
