"""Reach object storage: with retries and time limits, and errors that say what to do."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenacity import retry, retry_if_exception, stop_after_attempt

from mlprod_tasks.platform.object_storage.addresses import Place

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

CONNECT_SECONDS, REQUEST_SECONDS = 10, 120
MOST_RETRIES, RETRY_SECONDS = 10, 180
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 15.0  # seconds; doubled each time, with chance in it
PIECE = 16 * 1024**2  # bytes that are read at once
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
PROBES = "_mlprod/conditional_put"
BROKE_OFF = "the answer broke off"
WITHOUT = re.compile(r"501 Not Implemented|\bNotImplemented\b")  # in what a service says that does not know a header
# What services answer, and what that means here. The first that fits counts.
REASONS = (
    (
        r"NoSuchBucket|ContainerNotFound|The specified bucket does not exist",
        "the bucket does not exist: create it, or correct the address",
    ),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|AuthenticationFailed|401 Unauthorized|InvalidClientTokenId",
        "the credentials are wrong: correct them in the connection or in the environment",
    ),
    (r"ExpiredToken|TokenRefreshRequired|token has expired", "the credentials have expired: renew them"),
    (
        r"AccessDenied|403 Forbidden|AllAccessDisabled",
        "these credentials may not do that: allow list, read, write and delete there",
    ),
    (
        r"instance metadata|169\.254\.169\.254|metadata\.google|NoCredentials|no credentials",
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or your provider's), or a connection",
    ),
    (
        r"SlowDown|503 Service Unavailable|429 Too Many|Throttl|TooManyRequests",
        "the service asks for fewer requests, and did so until the last try",
    ),
    (r"412 Precondition|PreconditionFailed|ConditionNotMet", "it was changed while it was read: run again"),
    (r"timed out|TimedOut|deadline has elapsed", "the service did not answer in time"),
    (
        r"Connection refused|dns error|connect(?:ion)? error|tcp connect|Connection reset|connection closed|"
        r"error sending request|builder error",
        "the service cannot be reached: check the endpoint and the network",
    ),
    (r"error decoding response body|IncompleteMessage|end of file before message|unexpected EOF|UnexpectedEof", BROKE_OFF),
    (r"50[0-9] |Internal(?:Server)?Error", "the service failed, also at the last try"),
)


class StorageUnreachable(OSError):
    """Object storage did not do what was asked; the message says what may be the reason, and holds no credentials."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class NoConditionalPuts(RuntimeError):
    """A bucket in which two writers may overwrite each other's commits."""


def delta_options(place: Place) -> dict[str, str]:
    """The storage options of delta-rs: how to reach it, that commits are conditional puts, retries and time limits."""
    return {
        **_options(place),
        **({"allow_http": "true"} if _plain(place) else {}),
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "timeout": f"{REQUEST_SECONDS}s",
        "max_retries": str(MOST_RETRIES),
        "retry_timeout": f"{RETRY_SECONDS}s",
        "backoff_config.init_backoff": f"{int(FIRST_PAUSE * 1000)}ms",
        "backoff_config.max_backoff": f"{int(LONGEST_PAUSE)}s",
        "backoff_config.base": "2",
    }


def store(place: Place) -> ObjectStore:
    """A client of the place, whose paths are relative to it."""
    from obstore.store import from_url

    config: Any = _options(place)
    return from_url(
        place.address,
        config=config,
        client_options={
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "timeout": timedelta(seconds=REQUEST_SECONDS),
            "allow_http": _plain(place),
        },
        retry_config={
            "max_retries": MOST_RETRIES,
            "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            "backoff": {
                "init_backoff": timedelta(seconds=FIRST_PAUSE),
                "max_backoff": timedelta(seconds=LONGEST_PAUSE),
                "base": 2,
            },
        },
    )


def download(client: ObjectStore, name: str, path: Path, tag: str | None = None) -> int:
    """Write a file to a path of this machine; its size in bytes. tag: of the content that it must have.

    Raises: errors of obstore, see `telling_why`.
    """
    import obstore

    answer = obstore.get(client, name, options={"if_match": tag} if tag else None)
    with path.open("wb") as file:
        for piece in answer.stream(min_chunk_size=PIECE):
            file.write(piece)
    return int(answer.meta["size"])


def copied(client: ObjectStore, name: str, to: str) -> bool:
    """Let the storage copy a file within itself; False if it does not do that. Raises: errors of obstore, see `telling_why`."""
    import obstore
    from obstore.exceptions import BaseError, NotSupportedError

    try:
        obstore.copy(client, name, to)
    except NotSupportedError:
        return False
    except BaseError as error:
        if WITHOUT.search(str(error)):
            return False
        raise
    return True


def _options(place: Place) -> dict[str, str]:
    """What Delta's client and the other one are told alike, so that what is tried by one holds for commits by the other."""
    return {**place.options, **({"conditional_put": "etag"} if place.kind == "s3" else {})}


def _plain(place: Place) -> bool:
    """Whether the endpoint is one without TLS, which somebody must have named."""
    said = place.options.get("aws_endpoint_url") or place.options.get("azure_endpoint")
    return (said or next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")).startswith("http://")


@contextmanager
def telling_why(place: Place, what: str) -> Iterator[None]:
    """Raise StorageUnreachable, which says what could not be done and why, for an error of a client of object storage."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        raise unreachable(place, what, error) from None


def unreachable(place: Place, what: str, error: BaseException) -> StorageUnreachable:
    """The error to raise. What the service said may name keys, so that is not passed on."""
    reason = reason_of(error) or ("it is not there" if isinstance(error, FileNotFoundError) else type(error).__name__)
    return StorageUnreachable(f"cannot {what} {place.address}: {reason}. What was there before is unchanged")


def reason_of(error: BaseException) -> str | None:
    """What an error of delta-rs or obstore means, if it comes from the storage."""
    said = str(error)
    return next((reason for pattern, reason in REASONS if re.search(pattern, said, re.IGNORECASE)), None)


def broke_off(error: BaseException) -> bool:
    """Whether an answer broke off. The clients do not ask for a list again then."""
    return reason_of(error) == BROKE_OFF


@retry(retry=retry_if_exception(broke_off), stop=stop_after_attempt(3), reraise=True)
def listed(client: ObjectStore, prefix: str | None) -> Sequence[ObjectMeta]:
    """All files below a prefix."""
    import obstore

    return obstore.list(client, prefix).collect()


def created(client: ObjectStore, name: str, content: bytes) -> bool:
    """Write a file, unless there is one of that name. Whether this call has written it.

    content: nobody else would write the same, which tells whose it is if the answer to a try was lost.

    Raises: errors of obstore, see `telling_why`.
    """
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    try:
        obstore.put(client, name, content, mode="create")
    except (AlreadyExistsError, PreconditionError):
        return bytes(obstore.get(client, name).bytes()) == content
    return True


def require_conditional_puts(place: Place) -> None:
    """Check that of two writers of a name one is refused, as commits need it, by writing a small object twice.

    Raises: NoConditionalPuts, StorageUnreachable.
    """
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    client, path = store(place), f"{PROBES}-{uuid.uuid4().hex}"
    refusal = NoConditionalPuts(
        f"{place.address} does not take conditional puts (If-None-Match), so two writers of one tick could "
        "overwrite each other: keep the lake in a bucket that does (Amazon S3, Google Cloud Storage, Azure, MinIO), or in a "
        "folder of this machine"
    )
    with telling_why(place, "write to"):
        try:
            obstore.put(client, path, b"first", mode="create")
        except BaseError as error:
            if WITHOUT.search(str(error)):
                raise refusal from None
            raise
        try:
            obstore.put(client, path, b"second", mode="create")
        except (AlreadyExistsError, PreconditionError):
            return
        finally:
            obstore.delete(client, path)
    raise refusal
