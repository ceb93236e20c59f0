"""Fakesnow as a process of its own, whose libraries `make install` put apart: prints the port it listens on.

It speaks Snowflake's protocol to Snowflake's driver, keeps tables in DuckDB, and takes any password. A moment that is missing
is sent as null, as Snowflake does it: fakesnow would send the parts of a moment with nothing in them, which is 1970.
"""

import sys

if __name__ == "__main__":
    import logging

    import fakesnow
    import fakesnow.arrow
    import pyarrow as pa

    parts_of = fakesnow.arrow.timestamp_to_sf_struct

    def or_missing(moments):
        parts = parts_of(moments)
        return pa.StructArray.from_arrays(
            parts.flatten(), fields=list(parts.type), mask=pa.array(moments.is_null().to_pylist())
        )

    fakesnow.arrow.timestamp_to_sf_struct = or_missing

    logging.disable(logging.INFO)  # uvicorn would write a line for each request to where the port is read
    with fakesnow.server() as server:
        print(server["port"], flush=True)
        sys.stdin.read()  # until the tests close it, or end
