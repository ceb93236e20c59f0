"""Access to lake, ledger, registry and mail server: one small object that is passed to every step."""

from __future__ import annotations

import os
import smtplib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlprod_tasks.platform.clock import Clock, WallClock
from mlprod_tasks.platform.object_storage.addresses import Place, is_remote, place_at
from mlprod_tasks.platform.settings import Settings, from_environment

if TYPE_CHECKING:
    from mlprod_tasks.platform.lake import Lake
    from mlprod_tasks.platform.ledger_store import Ledger
    from mlprod_tasks.platform.mailer import Mailer
    from mlprod_tasks.platform.object_storage.copies import Copies
    from mlprod_tasks.platform.online_store.protocol import OnlineStore
    from mlprod_tasks.platform.registry import Registry
    from mlprod_tasks.platform.shared_files import SharedFiles


@dataclass(frozen=True)
class Platform:
    """Lake, ledger, registry, mailer and clock of one installation, each created on first use.

    Heavy libraries are imported only then: a task that does not need MLflow does not wait for it. connect_mail: opens a session
    with the mail server; None uses connection 'smtp'. attempt: returns the number of the current try of a step; None: always 1.
    """

    settings: Settings
    clock: Clock = field(default_factory=WallClock)
    connect_mail: Callable[[], smtplib.SMTP] | None = None
    attempt: Callable[[], int] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another machine that computes a part, a platform reaches the lake, by the credentials of that machine.

        No secret is sent.
        """
        return _with_lake, (self.settings.lake,)

    @cached_property
    def lake(self) -> Lake:
        from mlprod_tasks.platform.lake import Lake

        if not is_remote(self.settings.lake):
            return Lake(self.settings.lake)
        from mlprod_tasks.platform.lake_storage import Bucket

        return Lake(Bucket(*self._place))

    @cached_property
    def shared(self) -> SharedFiles:
        """Files that one step writes and another reads."""
        if not is_remote(self.settings.lake):
            from mlprod_tasks.platform.shared_files import InHome

            return InHome(self.settings.home)
        from mlprod_tasks.platform.object_storage.shared import InBucket

        place, copies = self._place
        return InBucket(place, self.settings.home, copies)

    @cached_property
    def _place(self) -> tuple[Place, Copies]:
        """The lake's place in object storage, and this machine's copies of files there."""
        from mlprod_tasks.platform.object_storage.copies import copies_of

        place = place_at(self.settings.lake, self.settings.lake_connection())
        return place, copies_of(place, self.settings.home, self.settings.lake_copies_bytes)

    @cached_property
    def ledger(self) -> Ledger:
        from mlprod_tasks.platform.ledger_store import Ledger

        ledger = Ledger(self.settings.ledger_url)
        ledger.migrate()
        return ledger

    @cached_property
    def registry(self) -> Registry:
        from mlprod_tasks.platform.registry import Registry

        return Registry(self.settings.mlflow_url, self.settings.home)

    @cached_property
    def online_store(self) -> OnlineStore:
        from mlprod_tasks.platform.online_store.open_store import open_store

        return open_store(self.settings.online_url)

    @cached_property
    def mailer(self) -> Mailer:
        from mlprod_tasks.platform.mailer import Mailer, connect

        return Mailer(self.connect_mail or (lambda: connect(self.settings.connection("smtp"))), self.settings.mail_from)


def _with_lake(lake: str) -> Platform:
    return Platform(from_environment({**os.environ, "MLPROD_LAKE": lake}))


def platform() -> Platform:
    """The platform configured by environment variables."""
    return Platform(from_environment())


__all__ = ["Platform", "platform"]
