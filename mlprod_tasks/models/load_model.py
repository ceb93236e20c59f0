"""Load a stored model of either kind: a single one, or one per segment."""

from __future__ import annotations

import json
from pathlib import Path

from mlprod_tasks.models import segmented
from mlprod_tasks.models.model import MANIFEST, Model, load_one
from mlprod_tasks.models.segmented import SegmentedModel


def load_model(folder: Path) -> Model | SegmentedModel:
    """Load the model that `save` wrote to a folder.

    Raises: ValueError for another kind; ForbiddenType if a file has a type that no model of mlprod has.
    """
    kind = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["kind"]
    return segmented.load(folder) if kind == segmented.KIND else load_one(folder)
