"""Addresses of object storage, and what a connection says of how to reach it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SCHEMES = {"s3": "s3", "gs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
# Connection types: those of Airflow, and addresses with a user in them.
TYPES = {"aws": "s3", "google_cloud_platform": "gs", "google-cloud-platform": "gs", "wasb": "az", "azure": "az", **SCHEMES}
USER = {
    "s3": ("aws_access_key_id", "aws_secret_access_key"),
    "gs": None,
    "az": ("azure_storage_account_name", "azure_storage_account_key"),
}
# What a connection may say besides, by Airflow's name or a shorter one, and what it is called by the client.
OPTIONS = {
    "s3": {
        "region_name": "aws_region", "region": "aws_region", "endpoint_url": "aws_endpoint_url",
        "aws_session_token": "aws_session_token", "session_token": "aws_session_token",
    },
    "gs": {"key_path": "google_service_account", "keyfile_dict": "google_service_account_key"},
    "az": {
        "sas_token": "azure_storage_sas_key", "tenant_id": "azure_tenant_id", "client_id": "azure_client_id",
        "client_secret": "azure_client_secret", "endpoint_url": "azure_endpoint",
    },
}  # fmt: skip
WITHOUT_MEANING = {"project", "scope", "num_retries", "path"}  # of Airflow's connections, and of no use here
UNSAFE = re.compile(r"[%*?\[\]#\s'\"]|[^/]*=[^/]*")


class AddressRefused(ValueError):
    """An address or a connection of object storage that cannot be used; the message holds no password."""


@dataclass(frozen=True)
class Place:
    """A folder in object storage.

    address: such as s3://bucket/folder, without a user or a password. options: how to reach it, in the names that delta-rs and
    obstore share; what is not among them comes from the environment (AWS_ACCESS_KEY_ID, ...).
    """

    address: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> str:
        """'s3', 'gs' or 'az'."""
        return SCHEMES[urlsplit(self.address).scheme]


def is_remote(address: str) -> bool:
    """Whether an address is one of object storage, and not a folder of this machine."""
    return "://" in address and not address.startswith("file://")


def place_at(address: str, connection: str | None = None) -> Place:
    """What is at an address: s3://bucket/folder, gs://bucket/folder, az://container/folder, abfss://....

    connection: the URL of a connection with credentials, such as Airflow's aws://KEY:SECRET@/?region_name=...&endpoint_url=....
    Without it, the address itself may have them: s3://KEY:SECRET@bucket/folder?endpoint_url=....

    Raises: AddressRefused.
    """
    parts = urlsplit(address)
    if parts.scheme not in SCHEMES:
        raise AddressRefused(
            f"{parts.scheme}:// is no address of a file system that is read here: name a folder of this machine, s3://bucket/"
            "folder, gs://bucket/folder or az://container/folder"
        )
    # An Azure address such as abfss://container@account.dfs.core.windows.net/folder has an account behind its @.
    has_user = "@" in parts.netloc and parts.scheme not in ("abfs", "abfss")
    bucket = parts.netloc.rpartition("@")[2] if has_user else parts.netloc
    clean = f"{parts.scheme}://{bucket}{parts.path.rstrip('/')}"
    if not bucket:
        raise AddressRefused(f"{parts.scheme}:// names no bucket: write {parts.scheme}://bucket/folder")
    if found := UNSAFE.search(unquote(parts.path)):
        raise AddressRefused(
            f"{clean} has {found[0]!r} in its path: spaces, quotes and the signs % * ? [ # have a meaning there, and a folder "
            "NAME=VALUE is read as a column. Choose another folder"
        )
    kind = SCHEMES[parts.scheme]
    if connection is not None:
        if has_user or parts.query:
            raise AddressRefused(f"{clean}: say how to reach it in its connection, not in the address, which logs may show")
        return Place(clean, _options(kind, connection))
    return Place(clean, _options(kind, address) if has_user or parts.query else {})


def with_user(address: str, login: str | None, password: str | None, options: Mapping[str, object]) -> str:
    """An address with what a connection says of how to reach it, as `place_at` reads it."""
    parts = urlsplit(address)
    user = f"{quote(login, safe='')}:{quote(password or '', safe='')}@" if login else ""
    said = "&".join(
        f"{quote(name, safe='')}={quote(value if isinstance(value, str) else json.dumps(value), safe='')}"
        for name, value in options.items()
        if name not in WITHOUT_MEANING and value not in (None, "")
    )
    return f"{parts.scheme}://{user}{parts.netloc}{parts.path}{'?' + said if said else ''}"


def _options(kind: str, connection: str) -> dict[str, str]:
    """The client's options that a connection's URL says."""
    parts = urlsplit(connection)
    if TYPES.get(parts.scheme) != kind:
        fitting = sorted(name for name, one in TYPES.items() if one == kind and name not in SCHEMES)
        raise AddressRefused(
            f"a connection of type {parts.scheme!r} does not reach {kind}://: its type must be {' or '.join(fitting)}"
        )
    said = dict(parse_qsl(parts.query, keep_blank_values=False))
    said |= {name: _text(value) for name, value in json.loads(said.pop("__extra__", "{}")).items()}
    options: dict[str, str] = {}
    for name, value in said.items():
        short = name.removeprefix("extra__aws__").removeprefix("extra__google_cloud_platform__").removeprefix("extra__wasb__")
        if short in OPTIONS[kind]:
            options[OPTIONS[kind][short]] = value
        elif short not in WITHOUT_MEANING:
            raise AddressRefused(
                f"option {name!r} of a connection of {kind}:// is not read here; there are {', '.join(OPTIONS[kind])}. What "
                "else there is to say, say in environment variables of the provider's own client, such as AWS_ROLE_ARN"
            )
    user = USER[kind]
    if user and parts.username:
        options |= {user[0]: unquote(parts.username)}
        options |= {user[1]: unquote(parts.password)} if parts.password else {}
    return options


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
