"""The small shop of the feature tests."""

from tests.support.feature_shop import shop

__all__ = ["shop"]
