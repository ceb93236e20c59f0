"""Fetch of a Parquet file in object storage only what is read of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mlprod_tasks.platform.object_storage.client import PIECE

if TYPE_CHECKING:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from obstore.store import ObjectStore

LAST_BYTES = 64 * 1024  # at the end of a file, where its footer is; few are longer
LENGTH = 8  # bytes behind the footer: its length, and a mark


def download_parts(
    client: ObjectStore, name: str, path: Path, where: pc.Expression | None, columns: Sequence[str] | None
) -> None:
    """Write a Parquet file to a path of this machine, with holes for what is not needed, which take no disk.

    There are its footer, and of its row groups those in which rows may fulfil `where`, of these the `columns` (None: all).

    Raises: errors of obstore, see `telling_why`.
    """
    import pyarrow.parquet as pq

    size, last = _last_bytes(client, name, LAST_BYTES)
    footer = LENGTH + int.from_bytes(last[-LENGTH:-4], "little")
    if footer > len(last):
        size, last = _last_bytes(client, name, footer)
    there = size - len(last)
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(there)
        file.write(last)
    with path.open("r+b") as file:
        for start, end in _joined(sorted(_chunks(pq.read_metadata(path), _groups(path, where), columns))):
            if start < there:
                _copy(client, name, file, start, min(end, there))


def _last_bytes(client: ObjectStore, name: str, wanted: int) -> tuple[int, bytes]:
    """The size of a file, and its last bytes."""
    import obstore
    from obstore.exceptions import NotSupportedError

    try:
        answer = obstore.get(client, name, options={"range": {"suffix": wanted}})
    except NotSupportedError:  # of Azure
        size = int(obstore.head(client, name)["size"])
        answer = obstore.get(client, name, options={"range": (max(0, size - wanted), size)})
    return int(answer.meta["size"]), bytes(answer.bytes())


def _groups(path: Path, where: pc.Expression | None) -> list[int]:
    import pyarrow.dataset as ds
    from pyarrow.fs import LocalFileSystem

    fragment = ds.ParquetFileFormat().make_fragment(str(path), LocalFileSystem())
    kept = fragment if where is None else fragment.subset(where)
    return [group.id for group in kept.row_groups]


def _chunks(about: pq.FileMetaData, groups: Sequence[int], columns: Sequence[str] | None) -> Iterator[tuple[int, int]]:
    """Where the columns of row groups begin and end."""
    for group in groups:
        row_group = about.row_group(group)
        for number in range(row_group.num_columns):
            chunk = row_group.column(number)
            name = chunk.path_in_schema
            if columns is None or any(name == one or name.startswith(f"{one}.") for one in columns):
                start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
                yield start, start + chunk.total_compressed_size


def _joined(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same bytes in as few ranges as there are between gaps."""
    held: tuple[int, int] | None = None
    for start, end in ranges:
        if held is not None and start > held[1]:
            yield held
            held = None
        held = (start, end) if held is None else (held[0], max(held[1], end))
    if held is not None:
        yield held


def _copy(client: ObjectStore, name: str, file: BinaryIO, start: int, end: int) -> None:
    import obstore

    file.seek(start)
    for piece in obstore.get(client, name, options={"range": (start, end)}).stream(min_chunk_size=PIECE):
        file.write(piece)
