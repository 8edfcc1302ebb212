"""documents/reading.py: a CSV's semicolons divide its cells, but not within quotes."""

from hocket.core.work import Document
from hocket.documents.reading import read


def text_of(data: str) -> str:
    [reading] = read(Document(name="a.csv", media_type="text/csv", data=data.encode()))
    return reading.text


def test_a_semicolon_within_quotes_stays_in_its_cell() -> None:
    assert "bolts; nuts" in text_of('id;what\n1;"bolts; nuts"\n')
    assert "1;" not in text_of('id;what\n1;"bolts; nuts"\n')


def test_quotation_marks_around_a_cell_are_no_part_of_it_and_its_line_breaks_are_blanks() -> None:
    assert text_of('id;what\n1;"say ""hi"", on\ntwo lines"\n2;x\n') == 'id  what\n1  say "hi", on two lines\n2  x'


def test_marks_within_a_cell_are_inches() -> None:
    assert text_of('size;what;other\n27";screen;32"\n') == 'size  what  other\n27"  screen  32"'


def test_a_quotation_mark_that_is_never_closed_divides_nothing() -> None:
    assert ";" not in text_of('size;what\n27";screen\n')
