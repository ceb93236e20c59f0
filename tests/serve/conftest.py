"""The small shop that is trained elsewhere in these tests, served here."""

from tests.training.conftest import crowned_home, crowned_shop, filled_home, shop, shop_pipeline

__all__ = ["crowned_home", "crowned_shop", "filled_home", "shop", "shop_pipeline"]
