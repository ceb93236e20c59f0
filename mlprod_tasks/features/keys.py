"""Encode keys as small integers, the same on both sides of a join."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Products of code counts up to this (or up to the number of rows) are used as they are; larger ones get new codes.
ROOM = 1 << 16


@dataclass(frozen=True)
class KeyCodes:
    """The codes of one or more key columns on both sides of a join: equal for equal values, -1 for null."""

    rows: np.ndarray
    events: np.ndarray
    size: int


def key_codes(rows: pa.ChunkedArray, events: pa.ChunkedArray) -> KeyCodes:
    """Give the codes of a column of the scored rows and of the column it is joined to."""
    if rows.type != events.type:
        events = events.cast(rows.type)
    both = pa.chunked_array([*rows.chunks, *events.chunks], type=rows.type).dictionary_encode().unify_dictionaries()
    codes, size = _codes(both)
    return KeyCodes(codes[: len(rows)], codes[len(rows) :], size)


def combined_codes(first: KeyCodes, second: KeyCodes) -> KeyCodes:
    """Give the codes of two columns taken together."""
    rows = _product(first.rows, second.rows, second.size)
    events = _product(first.events, second.events, second.size)
    size = first.size * second.size
    if size <= max(ROOM, rows.size + events.size):
        return KeyCodes(rows, events, size)
    both = np.concatenate([rows, events])
    dense = pa.chunked_array([pa.array(both, mask=both < 0)]).dictionary_encode()
    codes, size = _codes(dense)
    return KeyCodes(codes[: rows.size], codes[rows.size :], size)


def _product(first: np.ndarray, second: np.ndarray, size: int) -> np.ndarray:
    product: np.ndarray = first.astype(np.int64) * size + second
    product[(first < 0) | (second < 0)] = -1
    return product


def _codes(encoded: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    if encoded.num_chunks == 0:
        return np.empty(0, np.int64), 0
    parts = [pc.fill_null(chunk.indices, -1).to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    return np.concatenate(parts).astype(np.int64), len(encoded.chunk(0).dictionary)
