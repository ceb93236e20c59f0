"""The importance of each feature to a version, if this machine has a copy of its reference profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform

# Where the registry keeps this machine's copies of models. The registry may be remote, and a page should not wait.
COPIES, PROFILE = "models", "reference_profile.json"

# A registered version's profile never changes.
_known: dict[Path, dict[str, float]] = {}


def gain_shares(pipeline: Pipeline, version: int | None, platform: Platform) -> dict[str, float]:
    """Read each feature's share of the model's gain; empty without a local copy of the version's profile."""
    if version is None:
        return {}
    profiles = sorted((platform.settings.home / COPIES / pipeline.name).glob(f"{version}-*/{PROFILE}"))
    if not profiles:
        return {}
    if profiles[-1] not in _known:
        _known[profiles[-1]] = _shares(json.loads(profiles[-1].read_text(encoding="utf-8")))
    return _known[profiles[-1]]


def _shares(profile: dict[str, Any]) -> dict[str, float]:
    gain = {one["bins"]["column"]: float(one["importance"]) for one in profile["features"]}
    total = sum(gain.values())
    return {feature: one / total for feature, one in gain.items()} if total > 0 else {}
