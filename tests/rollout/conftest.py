"""The shop with three versions to roll out."""

from tests.support.ramped_shop import shop, three_versions_home

__all__ = ["shop", "three_versions_home"]
