"""Mail about files of the service's log whose rows do not reach the lake: waiting files and broken files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.mail_content import Content
from mlprod_tasks.notifications.events import send
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Mail, MailAbout
from mlprod_tasks.scoring.collect import BROKEN
from mlprod_tasks.scoring.prediction_log import log_folder

MOST_NAMED = 10
REMIND_EVERY = timedelta(days=7)
BROKEN_FILES = "broken"


def tell_uncollected(
    pipeline: Pipeline, causes: Mapping[str, int], platform: Platform, links: Sequence[tuple[str, str]] = ()
) -> list[str]:
    """Mail why files wait, once a week while they do; and each broken file once.

    causes: as in `Collected.causes`. A broken file is mailed whoever set it aside: a ramp collects files too.

    Returns: the subjects of the mails that went out.
    """
    subjects = []
    for key, topic, content in [*_waiting(pipeline, causes, platform, links), *_broken(pipeline, platform, links)]:
        if send(pipeline, MailAbout.LOG, key, content, platform, kind=MailAbout.FAILURE.value, topic=topic):
            subjects.append(content.subject)
    return subjects


def _waiting(
    pipeline: Pipeline, causes: Mapping[str, int], platform: Platform, links: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str, Content]]:
    now = platform.clock.now()
    for why, files in causes.items():
        topic = hashlib.sha256(why.encode()).hexdigest()[:12]
        told = {"pipeline": pipeline.name, "about": MailAbout.LOG, "topic": topic}
        if platform.ledger.all(Mail, Mail.at > now - REMIND_EVERY, **told):
            continue
        content = Content(
            subject=f"[{pipeline.name}] answered requests wait: {files:,} files of the log do not fit the lake",
            headline=f"{files:,} files of the log wait, and their rows are neither in the lake nor measured.",
            paragraphs=(
                f"{why}.",
                f"The log of the collection names them; they are in {log_folder(pipeline, platform)}. Nothing is lost: once "
                "this is fixed they are collected.",
            ),
            links=tuple(links),
        )
        yield f"{pipeline.name}/log/{topic}/{now.date()}", topic, content


def _broken(pipeline: Pipeline, platform: Platform, links: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str, Content]]:
    folder = log_folder(pipeline, platform)
    # The time at which a file was set aside is when its name changed.
    files = sorted(folder.glob(f"*{BROKEN}"), key=lambda file: (_changed(file), file.name), reverse=True)
    if files:
        content = Content(
            subject=f"[{pipeline.name}] answered requests cannot be read: {len(files):,} files of the log are broken",
            headline=f"{len(files):,} broken files of the log are set aside; their rows are not in the lake.",
            paragraphs=(
                f"{_named(files)}, in {folder}.",
                "The log of the collection says what is wrong with each. Repair a file and remove "
                f"{BROKEN} from its name, and it is collected; a file that cannot be repaired may be deleted.",
            ),
            links=tuple(links),
        )
        yield f"{pipeline.name}/log/broken/{files[0].name}", BROKEN_FILES, content


def _named(files: Sequence[Path]) -> str:
    more = f" and {len(files) - MOST_NAMED:,} more" if len(files) > MOST_NAMED else ""
    return ", ".join(file.name for file in files[:MOST_NAMED]) + more


def _changed(file: Path) -> datetime:
    try:
        return datetime.fromtimestamp(file.stat().st_ctime, UTC)
    except OSError:  # deleted meanwhile
        return datetime.min.replace(tzinfo=UTC)
