"""The tables of the ledger about keys: those that open the scoring service, and those of the hash of personal columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from mlprod_tasks.platform.ledger import Line, Row


class ApiKey(Row):
    """A key that lets a program request predictions. Only its hash is stored."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)  # the first part of the key, used as its name
    hash: Mapped[str] = mapped_column(String(64))  # SHA-256: keys are random, so a slow hash would not protect better
    pipelines: Mapped[list[Any]]  # the pipelines it is valid for; ["*"] is all
    holder: Mapped[Line]  # the owner of the program
    by: Mapped[Line]  # who created it
    at: Mapped[datetime]
    until: Mapped[datetime | None] = mapped_column(default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)


class PseudonymKey(Row):
    """A key of the hash of personal columns, in use until the next one. The key itself is not stored."""

    __tablename__ = "pseudonym_keys"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1 is the first key
    check_value: Mapped[str] = mapped_column(String(64))  # HMAC of a constant: tells the key from another
    at: Mapped[datetime]
    by: Mapped[Line] = mapped_column(default="")  # who replaced the key before; '' for the first one
