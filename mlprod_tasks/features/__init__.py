"""Point-in-time features: declared once, computed by the same code for training and for scoring."""

from mlprod_tasks.features.build import FeatureFiles, FeatureSet, build, pinned, write
from mlprod_tasks.features.event_stage import reads_too_many_events, stage_events
from mlprod_tasks.features.labels import known_labels, label_partitions, labels, later

__all__ = [
    "FeatureFiles",
    "FeatureSet",
    "build",
    "known_labels",
    "label_partitions",
    "labels",
    "later",
    "pinned",
    "reads_too_many_events",
    "stage_events",
    "write",
]
