"""Source files in a bucket: found by the same globs and read as from a folder."""

from __future__ import annotations

import glob
import gzip
import os
from datetime import date
from pathlib import Path
from urllib.parse import quote

import pytest

from mlprod_tasks.declaration import Column, Files, Table
from mlprod_tasks.platform import sources
from mlprod_tasks.platform.object_storage.addresses import AddressRefused, place_at, with_user
from mlprod_tasks.platform.settings import Settings, from_environment
from mlprod_tasks.platform.source_errors import SourceMissing, SourceUnreachable
from mlprod_tasks.platform.source_folders import source_folder
from tests.support.object_storage import Bucket, FaultyProxy

COLUMNS = (Column("k", "int", "number"), Column("v", "text", "value"))
NAMES = (
    "in/2024-01-01.csv", "in/2024-01-02.csv", "in/deep/2024-01-03.csv", "in/.hidden.csv", "in/b[1].csv", "other/x.csv",
    "top.csv", "in/z.csv.gz",
)  # fmt: skip


def table(path: str) -> Table:
    return Table("sales", Files("tills", path, "csv"), key=("k",), columns=COLUMNS)


def settings(home: Path, address: str) -> Settings:
    return from_environment({"MLPROD_HOME": str(home), "MLPROD_CONNECTION_TILLS": address})


def address(bucket: Bucket, port: int | None = None) -> str:
    endpoint = quote(f"http://127.0.0.1:{port or bucket.port}", safe="")
    return f"s3://key:s3cret@{bucket.name}/export?region=us-east-1&endpoint_url={endpoint}"


@pytest.fixture
def both(bucket: Bucket, tmp_path: Path) -> tuple[Settings, Settings]:
    """The same files in a folder and in a bucket."""
    for i, name in enumerate(NAMES):
        content = f"k,v\n{i},ü{i}\n".encode()
        content = gzip.compress(content) if name.endswith(".gz") else content
        path = tmp_path / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        bucket.put(f"export/{quote(name)}", content)
    return settings(tmp_path / "home", str(tmp_path / "export")), settings(tmp_path / "home", address(bucket))


@pytest.mark.parametrize(
    "pattern",
    ["in/*.csv", "*.csv", "*/*.csv", "in/2024-01-0?.csv", "in/[a-z]*", "in/.*.csv", "**/*.csv", "./in/*.csv.gz", "in"],
)
def test_a_glob_finds_the_same_files(both: tuple[Settings, Settings], pattern: str, tmp_path: Path) -> None:
    source = Files("tills", pattern, "csv")
    found = source_folder("sales", source, both[1]).names_like(pattern)
    expected = (os.path.relpath(path, tmp_path / "export") for path in glob.glob(str(tmp_path / "export" / pattern)))
    assert found == sorted(name for name in expected if (tmp_path / "export" / name).is_file())


@pytest.mark.parametrize(("pattern", "tick"), [("in/{tick}.csv", date(2024, 1, 2)), ("in/*.csv", None), ("in/*.gz", None)])
def test_rows_are_the_same_and_no_copy_stays(both: tuple[Settings, Settings], pattern: str, tick: date | None) -> None:
    local, remote = ([batch.to_pydict() for batch in sources.read(table(pattern), one, None, None, tick)] for one in both)
    assert local
    assert remote == local
    assert sources.look(table(pattern), both[1], tick).undeclared == ()
    assert list((both[1].home / "source_copies").iterdir()) == []


def test_ticks_are_found_in_the_names(both: tuple[Settings, Settings]) -> None:
    assert [sources.ticks_of_files(table("in/{tick}.csv"), one) for one in both] == [["2024-01-01", "2024-01-02"]] * 2


def test_a_file_that_is_not_there_or_is_cut_off_is_named(both: tuple[Settings, Settings], bucket: Bucket) -> None:
    with pytest.raises(SourceMissing, match=rf"no file 'in/x\*.csv' in s3://{bucket.name}/export\. Deliver it"):
        sources.look(table("in/x*.csv"), both[1])
    bucket.put("export/cut.csv.gz", gzip.compress(b"k,v\n1,a\n" * 1000)[:-20])
    with pytest.raises(SourceMissing, match=rf"{bucket.name}/export/cut.csv.gz cannot be read as a csv file"):
        list(sources.read(table("cut.csv.gz"), both[1], None, None))


def test_requests_that_fail_are_tried_again(both: tuple[Settings, Settings], bucket: Bucket, proxy: FaultyProxy) -> None:
    for fault in ("busy", "cut", "dropped"):
        proxy.befall(fault, "GET", times=2)
        through = settings(both[1].home, address(bucket, proxy.port))
        rows = [batch.to_pydict() for batch in sources.read(table("in/2024*.csv"), through, None, None)]
        assert [row["v"] for row in rows] == [["ü0"], ["ü1"]]
        assert proxy.befallen()


def test_what_is_wrong_with_an_address_is_said_without_its_password(tmp_path: Path) -> None:
    for named, words in (
        ("hdfs://x/y", "no address of a file system that is read here"),
        ("s3://k:hush@/x", "names no bucket"),
        ("s3://k:hush@b/a b", "spaces, quotes"),
        ("s3://k:hush@b/a?role_arn=x", "option 'role_arn' of a connection of s3:// is not read here"),
    ):
        with pytest.raises(SourceUnreachable, match=words) as refused:
            sources.look(table("x.csv"), settings(tmp_path, named))
        assert "hush" not in str(refused.value)


def test_connections_of_airflow_say_how_to_reach_a_place() -> None:
    aws = with_user("aws:///", "KEY/1", "se+cr:et@", {"region_name": "eu-west-1", "endpoint_url": "https://x:9000"})
    assert place_at("s3://b/lake/", aws).options == {
        "aws_access_key_id": "KEY/1",
        "aws_secret_access_key": "se+cr:et@",
        "aws_region": "eu-west-1",
        "aws_endpoint_url": "https://x:9000",
    }
    google = with_user("google-cloud-platform:///", None, None, {"keyfile_dict": {"type": "service_account"}, "project": "p"})
    assert place_at("gs://b", google).options == {"google_service_account_key": '{"type": "service_account"}'}
    azure = with_user("wasb:///", "account", "key==", {})
    assert place_at("az://box/lake", azure).options == {
        "azure_storage_account_name": "account",
        "azure_storage_account_key": "key==",
    }
    with pytest.raises(AddressRefused, match="does not reach gs://: its type must be google"):
        place_at("gs://b", aws)
    with pytest.raises(AddressRefused, match="say how to reach it in its connection"):
        place_at("s3://k:hush@b", aws)
