"""Documents cut into passages that can be quoted: verbatim pieces that know their page, paragraph and place."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hocket.core.work import BadInput, Document, Work
from hocket.documents.layout import text_of
from hocket.documents.reading import Reading, kind_of, read
from services.workers.texts import decoded

MAX_PASSAGES = 20_000
LONGEST = 600
"""Characters of a passage; a longer paragraph is cut between sentences, and a longer sentence stays whole."""
_VERBATIM = ("text/plain", "text/markdown")
_PARAGRAPH = re.compile(r"\S(?:.*?\S)??(?=[ \t]*(?:\r?\n[ \t]*){2,}|\s*\Z)", re.DOTALL)
_BETWEEN = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+(?=[\"'“‘«„(]*[A-ZÀ-ÖØ-Þ0-9])")  # noqa: RUF001
_HEADING = re.compile(r"#{1,6} [^\n]*|[^\n]{1,60}(?<![.!?…:;,\d\"”»)])")
_PAGED = ("application/pdf", "image/tiff")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A document's text, and its parts by page: `pages` are (page from 1 or None, offset, text)."""

    name: str
    text: str
    pages: tuple[tuple[int | None, int, str], ...]


@dataclass(frozen=True, kw_only=True)
class Passage:
    """`source.text[start:end]`, and where a person finds it."""

    source: Source
    page: int | None
    paragraph: int
    start: int
    end: int

    @property
    def quote(self) -> str:
        """The words, verbatim."""
        return self.source.text[self.start : self.end]


def sources(work: Work) -> list[Source]:
    """What may be searched: the documents, and the texts of earlier tasks; never the request's own words.

    A mail gives its attachments too. Raises BadInput when a document cannot be read.
    """
    found = [source for document in work.documents for source in of_document(document)]
    if not work.documents:
        texts = [(item.task_id, item.output.get("text")) for item in work.inputs]
        found = [_whole(name, text) for name, text in texts if isinstance(text, str)]
    return [source for source in found if source.text.strip()]


def of_document(document: Document) -> list[Source]:
    """A document as what may be quoted. Raises BadInput when it cannot be read."""
    if kind_of(document) in _VERBATIM:
        return [_whole(document.name, decoded(document))]
    return [_of_reading(reading) for reading in read(document)]


def _whole(name: str, text: str) -> Source:
    return Source(name=name, text=text, pages=((None, 0, text),))


def _of_reading(reading: Reading) -> Source:
    text = reading.text
    if reading.media_type not in _PAGED:
        return _whole(reading.name, text)
    pages: list[tuple[int | None, int, str]] = []
    at = 0
    for number in sorted({row[0].page for row in reading.rows}):
        body = text_of(row for row in reading.rows if row[0].page == number)
        at = text.index(body, at)  # pages stand in the text in their order
        pages.append((number + 1, at, body))
        at += len(body)
    return Source(name=reading.name, text=text, pages=tuple(pages))


def passages(found: list[Source]) -> list[Passage]:
    """Every passage of the sources, in order. Raises BadInput when there are too many to compare."""
    cut: list[Passage] = []
    for source in found:
        cut += _passages(source)
        if len(cut) > MAX_PASSAGES:
            raise BadInput(f"The documents have more than {MAX_PASSAGES} paragraphs: send fewer at once.")
    return cut


def _passages(source: Source) -> Iterator[Passage]:
    for page, offset, body in source.pages:
        for number, begin, stop in _with_headings(body):
            for start, end in _pieces(body[begin:stop]):
                at = offset + begin
                yield Passage(source=source, page=page, paragraph=number, start=at + start, end=at + end)


def _with_headings(body: str) -> Iterator[tuple[int, int, int]]:
    """Number and place of every paragraph; a heading alone says nothing, so it stands with what it heads."""
    held: tuple[int, int] | None = None
    found = [(number, match.start(), match.end()) for number, match in enumerate(_PARAGRAPH.finditer(body), start=1)]
    for number, start, end in found:
        if held is not None and end - held[1] > LONGEST:
            yield held[0], held[1], found[number - 2][2]
            held = None
        first, begin = held or (number, start)
        if number < len(found) and _HEADING.fullmatch(body[start:end]):
            held = (first, begin)
        else:
            yield first, begin, end
            held = None


def _pieces(paragraph: str) -> Iterator[tuple[int, int]]:
    """Where to cut a paragraph: as many whole sentences as fit into a passage, at least one."""
    cuts = [(match.start(), match.end()) for match in _BETWEEN.finditer(paragraph)]
    start = 0
    end = 0
    for stop, following in [*cuts, (len(paragraph), len(paragraph))]:
        if end > start and stop - start > LONGEST:
            yield start, end
            start = next((after for before, after in cuts if before == end), end)
        end = stop
        if following == len(paragraph):
            break
    yield start, len(paragraph)
