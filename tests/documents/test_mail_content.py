"""How a mail looks: text and HTML say the same, and nothing in it can break either."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mlprod_tasks.documents.mail_content import Content, Grid, render

GATES = Grid(
    "Gates",
    ("verdict", "gate", "value", "bound"),
    (
        ("FAILED", "AtLeast roc_auc", "0.6512", "0.9"),
        ("passed", "AtMost calibration_error", "0.0312", "0.1"),
        ("FAILED", "BetterThanBaseline value", "-1,204.5", "0"),
        ("passed", "NotWorseThanChampion", "not evaluated", ""),
    ),
    frozenset({0, 2}),
)
CONTENT = Content(
    subject="[flight_delays] model refused",
    headline="The new model was refused: 2 of 4 gates failed.",
    paragraphs=("Trained because: value fell by 17.3 %.", "First line.\nSecond line, 42 rows."),
    grids=(GATES,),
    picture=b"\x89PNG",
    links=(("Airflow run", "http://localhost:8080/dags?a=1&b=2"),),
)


class Page(HTMLParser):
    """The words that a reader sees, and the tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def numbers(words: list[str]) -> list[str]:
    return re.findall(r"-?\d[\d,.]*", " ".join(words))


def test_text_and_html_say_the_same_words() -> None:
    letter = render(CONTENT, ("a@example.com",))
    page = Page(letter.html)
    rulers = re.compile(r"^-+$")
    text = [word for word in letter.text.split() if not rulers.match(word)]
    # An address is an attribute in HTML; every other word is in both, in the same order.
    assert page.words == [word.rstrip(":") if word == "run:" else word for word in text if "://" not in word]
    assert numbers(page.words) == numbers([word for word in text if "://" not in word])
    assert "0.6512" in numbers(page.words)


def test_links_stand_in_both() -> None:
    letter = render(CONTENT, ("a@example.com",))
    assert "Airflow run: http://localhost:8080/dags?a=1&b=2" in letter.text
    assert ("http://localhost:8080/dags?a=1&b=2") in [attrs.get("href") for tag, attrs in Page(letter.html).tags if tag == "a"]


@pytest.mark.parametrize("field", ["headline", "paragraph", "caption", "heading", "cell", "link"])
def test_html_in_a_value_is_shown_not_run(field: str) -> None:
    bad = '<script>alert("1")</script>'
    grid = Grid(
        *(bad if field == "caption" else "c", (bad if field == "heading" else "h",), ((bad if field == "cell" else "1",),))
    )
    content = Content(
        subject="s",
        headline=bad if field == "headline" else "h",
        paragraphs=(bad if field == "paragraph" else "p",),
        grids=(grid,),
        links=((bad if field == "link" else "l", "http://x"),),
    )
    letter = render(content, ("a@example.com",))
    page = Page(letter.html)
    assert "script" not in [tag for tag, _ in page.tags]
    assert bad in " ".join(page.words)
    assert bad in letter.text


def test_an_address_cannot_leave_its_attribute() -> None:
    html = render(replace(CONTENT, links=(("x", 'http://x" onclick="alert(1)'),)), ("a@example.com",)).html
    (link,) = [attrs for tag, attrs in Page(html).tags if tag == "a"]
    assert "onclick" not in link


def test_failed_rows_are_marked() -> None:
    html = render(CONTENT, ("a@example.com",)).html
    rows = [attrs for tag, attrs in Page(html).tags if tag == "tr"][1:]
    assert ["style" in attrs for attrs in rows] == [True, False, True, False]


def test_the_picture_is_inside_the_mail() -> None:
    letter = render(CONTENT, ("a@example.com",))
    assert letter.pictures == (("picture", b"\x89PNG"),)
    assert [attrs["src"] for tag, attrs in Page(letter.html).tags if tag == "img"] == ["cid:picture"]
    without = render(replace(CONTENT, picture=None), ("a@example.com",))
    assert without.pictures == ()
    assert "<img" not in without.html


def test_numbers_are_flush_right_in_the_text() -> None:
    lines = render(CONTENT, ("a@example.com",)).text.splitlines()
    ends = {line.index(number) + len(number) for number in ("0.6512", "0.0312", "-1,204.5") for line in lines if number in line}
    assert len(ends) == 1


@pytest.mark.parametrize(
    ("cells", "numeric"),
    [
        (("1", "2,000", "-0.5", "3%", "1e-05", ""), True),
        (("0.5", "not evaluated"), True),
        (("", ""), False),
        (("passed", "FAILED"), False),
        (("2013-06-17", "2013-06-18"), False),
        (("N24211", "12"), False),
    ],
)
def test_a_column_of_numbers_is_known(cells: tuple[str, ...], numeric: bool) -> None:
    assert (0 in Grid("c", ("h",), tuple((cell,) for cell in cells)).numeric) is numeric


def test_the_lines_of_an_error_stay_lines() -> None:
    error = "duckdb.Error: line one\n\n  LINE 1: SELECT\n               ^"
    letter = render(replace(CONTENT, paragraphs=(error,)), ("a@example.com",))
    assert "duckdb.Error: line one\n\n  LINE 1: SELECT" in letter.text
    assert "white-space:pre-line" in letter.html


def test_a_long_address_stays_whole_and_long_lines_are_wrapped() -> None:
    address = "https://airflow.example.com/" + "x-" * 60
    text = render(replace(CONTENT, paragraphs=("word " * 40 + address,)), ("a@example.com",)).text
    assert address in text
    assert all(len(line) <= 78 for line in text.splitlines() if address not in line)


def test_a_cell_of_several_lines_or_too_wide_keeps_the_table_in_shape() -> None:
    grid = Grid("Rows", ("id", "note"), (("1", "a\nb"), ("2", "x" * 100)))
    lines = render(replace(CONTENT, grids=(grid,)), ("a@example.com",)).text.splitlines()
    assert " 1  a b" in lines
    assert f" 2  {'x' * 57}..." in lines


def test_a_table_without_rows_and_a_mail_without_tables_are_fine() -> None:
    assert "Rows" in render(replace(CONTENT, grids=(Grid("Rows", ("id",), ()),)), ("a@example.com",)).text
    bare = render(Content("s", "Only this."), ("a@example.com",))
    assert bare.text == "Only this.\n"
    assert "Only this." in bare.html
