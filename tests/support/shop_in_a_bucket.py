"""The small shop with its lake in a bucket."""

from pathlib import Path

from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from tests.support.object_storage import Bucket
from tests.support.trained_shop import Shop


def in_a_bucket(shop: Shop, bucket: Bucket, port: int | None = None, **given: str) -> Platform:
    """The shop's platform with its lake in a bucket, and other settings. port: of a proxy before it."""
    lake = Path(shop.platform.settings.lake)
    for file in lake.rglob("*"):
        if file.is_file():
            bucket.put(f"lake/{file.relative_to(lake)}", file.read_bytes())
    of_lake = {"MLPROD_LAKE": f"{bucket.url}/lake", "MLPROD_CONNECTION_LAKE": bucket.connection(port)}
    home = str(shop.platform.settings.home)
    return Platform(from_environment({"MLPROD_HOME": home, "MLPROD_PIPELINES": home, **of_lake, **given}))
