"""Mail about files of the service's log whose rows do not reach the lake: waiting files and broken files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.mail_content import Content
from mlprod_tasks.notifications.events import send
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Mail, MailAbout
from mlprod_tasks.scoring.prediction_log import log_name
from mlprod_tasks.scoring.set_aside import BROKEN

MOST_NAMED = 10
REMIND_EVERY = timedelta(days=7)
BROKEN_FILES = "broken"


def tell_uncollected(
    pipeline: Pipeline, causes: Mapping[str, int], platform: Platform, links: Sequence[tuple[str, str]] = ()
) -> list[str]:
    """Mail why files wait, once a week while they do, and each broken file once.

    causes: as in `Collected.causes`. Files that a rollout set aside as broken are mailed too: it also collects files.

    Returns: the subjects of the mails that were sent.
    """
    subjects = []
    for key, topic, content in [*_waiting_mails(pipeline, causes, platform, links), *_broken_mails(pipeline, platform, links)]:
        if send(pipeline, MailAbout.LOG, key, content, platform, kind=MailAbout.FAILURE.value, topic=topic):
            subjects.append(content.subject)
    return subjects


def _waiting_mails(
    pipeline: Pipeline, causes: Mapping[str, int], platform: Platform, links: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str, Content]]:
    now = platform.clock.now()
    for why, files in causes.items():
        topic = hashlib.sha256(why.encode()).hexdigest()[:12]
        same_topic = {"pipeline": pipeline.name, "about": MailAbout.LOG, "topic": topic}
        if platform.ledger.all(Mail, Mail.at > now - REMIND_EVERY, **same_topic):
            continue
        content = Content(
            subject=f"[{pipeline.name}] answered requests wait: {files:,} files of the log do not fit the lake",
            headline=f"{files:,} files of the log wait; their rows are neither in the lake nor measured.",
            paragraphs=(
                f"Reason: {why}.",
                f"The files are in {platform.shared.address(log_name(pipeline))}; the log of the "
                "collection lists them. Nothing is lost: they are collected once this is fixed.",
            ),
            links=tuple(links),
        )
        yield f"{pipeline.name}/log/{topic}/{now.date()}", topic, content


def _broken_mails(
    pipeline: Pipeline, platform: Platform, links: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str, Content]]:
    # A file was set aside when its name changed.
    names = {name: at for name, at in platform.shared.names(log_name(pipeline)).items() if name.endswith(BROKEN)}
    files = sorted(names, key=lambda name: (names[name], name), reverse=True)
    if files:
        content = Content(
            subject=f"[{pipeline.name}] answered requests cannot be read: {len(files):,} files of the log are broken",
            headline=f"{len(files):,} broken files of the log are set aside; their rows are not in the lake.",
            paragraphs=(
                f"The files {_file_names(files)} are in {platform.shared.address(log_name(pipeline))}.",
                "The log of the collection says what is wrong with each. Repair a file and remove "
                f"{BROKEN} from its name to have it collected; delete a file that cannot be repaired.",
            ),
            links=tuple(links),
        )
        yield f"{pipeline.name}/log/broken/{files[0]}", BROKEN_FILES, content


def _file_names(files: Sequence[str]) -> str:
    more = f" and {len(files) - MOST_NAMED:,} more" if len(files) > MOST_NAMED else ""
    return ", ".join(files[:MOST_NAMED]) + more
