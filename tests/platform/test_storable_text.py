"""What every database, mail and terminal can take, and how the rest is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprod_tasks.platform.storable_text import one_line, storable, visible

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize("text", ["", "o-1", "Zoë", "👩‍🚀", "two\nlines", "\x01"])
def test_text_of_every_language_can_be_stored(text: str) -> None:
    assert storable(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\0b", "a\\x00b"), ("\ud83d", "\\ud83d"), ("ok\x1b[31mred", "ok\\x1b[31mred"), ("a\u202eb", "a\\u202eb")],
)
def test_what_is_hidden_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert visible(text) == one_line(text) == shown


def test_lines_stay_unless_one_is_asked_for() -> None:
    assert visible("one\ntwo") == "one\ntwo"
    assert one_line(" one\r\n\ttwo\u2028three\x85four\x1ffive ") == "one two three four five"


@given(ANY_TEXT)
def test_what_is_visible_can_be_stored_and_what_can_be_stored_is_told_by_encoding(text: str) -> None:
    assert storable(visible(text))
    assert len(one_line(text).splitlines()) <= 1
    assert storable(text) == ("\0" not in text and not any("\ud800" <= one <= "\udfff" for one in text))
