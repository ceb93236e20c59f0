"""The shop that is monitored, on a folder of the test's own."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import monitored_shop

from demo.mail_catcher import MailCatcher
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment


@pytest.fixture
def make_shop(tmp_path: Path) -> Callable[..., Platform]:
    """Make a shop's platform below the test's folder."""
    return lambda folder="shop", clock=None: monitored_shop.shop_platform(tmp_path / folder, clock)


@pytest.fixture
def shop(make_shop: Callable[..., Platform]) -> Platform:
    """A shop with an empty lake."""
    return make_shop()


@pytest.fixture
def catcher(tmp_path: Path) -> Iterator[MailCatcher]:
    """A real mail server that keeps what it is sent."""
    with MailCatcher(tmp_path / "outbox") as catcher:
        yield catcher


@pytest.fixture
def mailing(tmp_path: Path, catcher: MailCatcher) -> Callable[[Any], Platform]:
    """Make a platform that mails to the catcher, with a clock of the test's own."""
    given = {"MLPROD_HOME": str(tmp_path), "MLPROD_CONNECTION_SMTP": f"smtp://127.0.0.1:{catcher.smtp_port}"}
    return lambda clock: Platform(from_environment(given), clock=clock)
