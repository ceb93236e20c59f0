"""Orders in PostgreSQL, whose times have the type that a test asks for."""

from collections.abc import Sequence

import psycopg2


def fill(url: str, kind: str, times: Sequence[str | None], session_zone: str = "UTC") -> None:
    """Create the table `orders` with one row for each time, numbered from 0. kind: the SQL type of the times."""
    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE %s", (session_zone,))
        cursor.execute(
            f"CREATE TABLE orders (order_id bigint, ordered_at {kind}, amount numeric, items int, state text, "
            "customer text, email text)"
        )
        for number, at in enumerate(times):
            cursor.execute("INSERT INTO orders VALUES (%s, %s, 9.5, 2, 'paid', NULL, NULL)", (number, at))
    connection.close()
