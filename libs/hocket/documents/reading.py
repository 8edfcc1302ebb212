"""Reading documents: from bytes of any supported kind to rows of text, the same shape for all of them."""

import csv
import email
import email.message
import email.policy
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

from hocket.core.work import BadInput, Document, Work
from hocket.documents.layout import Cell, Row, rows_of, rows_of_text, text_of
from hocket.documents.scans import cells_of_pdf, cells_of_picture
from hocket.documents.sheets import MEDIA_TYPES as WORKBOOKS
from hocket.documents.sheets import sheets_text
from hocket.documents.word import MEDIA_TYPE as WORD
from hocket.documents.word import word_text

MAX_CHARACTERS = 2_000_000
MAX_DEPTH = 4
"""How deep mails may lie in mails."""
_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_MAGIC = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_SUFFIX = {
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".htm": "text/html",
    ".html": "text/html",
    ".eml": "message/rfc822",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".docx": WORD,
    ".xlsx": WORKBOOKS[0],
    ".xlsm": WORKBOOKS[1],
}
_PICTURES = ("image/png", "image/jpeg", "image/tiff")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one document says: mail headers (if it is one) and rows in reading order."""

    name: str
    media_type: str
    rows: tuple[Row, ...]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> str:
        return text_of(self.rows)

    @property
    def text(self) -> str:
        """Headers and body."""
        head = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        return "\n\n".join(part for part in (head, self.body) if part)


def readings(work: Work) -> list[Reading]:
    """Everything a task is given to read: its documents; else the texts of its inputs; else the request's text."""
    if work.documents:
        found = [reading for document in work.documents for reading in read(document)]
    else:
        texts = [(item.task_id, item.output.get("text")) for item in work.inputs]
        given = [(name, text) for name, text in texts if isinstance(text, str) and text.strip()]
        found = [_plain(name, text) for name, text in given or [("request", work.text)]]
    found = [reading for reading in found if reading.text.strip()]
    if not found:
        names = ", ".join(document.name for document in work.documents)
        raise BadInput(f"No text was found in {names}." if names else "There is nothing to read: send a text.")
    return found


def read(document: Document, depth: int = 0) -> list[Reading]:  # noqa: PLR0911 - one for each kind
    """Read one document; a mail gives its attachments too."""
    media_type = kind_of(document)
    if media_type == "message/rfc822":
        return list(_mail(document, depth))
    if media_type == "application/pdf":
        return [_placed(document, media_type, cells_of_pdf(document))]
    if media_type in _PICTURES:
        return [_placed(document, media_type, cells_of_picture(document))]
    if media_type == "text/html":
        return [_plain(document.name, html_text(_decoded(document)), media_type)]
    if media_type == "text/csv":
        return [_plain(document.name, _tabbed(_decoded(document)), media_type)]
    if media_type == WORD:
        return [_plain(document.name, word_text(document), media_type)]
    if media_type in WORKBOOKS:
        return [_plain(document.name, sheets_text(document), media_type)]
    if media_type.startswith("text/"):
        return [_plain(document.name, _decoded(document), media_type)]
    raise BadInput(
        f"{document.name} is of type {media_type or 'unknown'}, which cannot be read here: "
        "send text, HTML, mail (.eml), Word (.docx), Excel (.xlsx), PDF, PNG, JPEG or TIFF."
    )


def kind_of(document: Document) -> str:
    """The media type: by the first bytes, else as declared, else by the name."""
    for magic, media_type in _MAGIC:
        if document.data.startswith(magic):
            return media_type
    declared = document.media_type.partition(";")[0].strip().lower()
    if declared not in ("", "application/octet-stream", "binary/octet-stream"):
        return {"image/jpg": "image/jpeg"}.get(declared, declared)
    return next((kind for end, kind in _SUFFIX.items() if document.name.lower().endswith(end)), "")


def _placed(document: Document, media_type: str, cells: list[Cell]) -> Reading:
    return Reading(name=document.name, media_type=media_type, rows=rows_of(cells))


def _plain(name: str, text: str, media_type: str = "text/plain") -> Reading:
    if len(text) > MAX_CHARACTERS:
        raise BadInput(f"{name} is longer than {MAX_CHARACTERS} characters: send it in parts.")
    return Reading(name=name, media_type=media_type, rows=rows_of_text(text))


def _decoded(document: Document) -> str:
    data = document.data
    if b"\x00" in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput(f"{document.name} is not text, though it is declared so: send it with its right media type.")
    encodings = ("utf-16",) if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _tabbed(text: str) -> str:
    """CSV with tabs for semicolons; those and the line breaks within quotes belong to their cell."""
    if text.count('"') % 2 or ";" not in text:  # a quotation mark that is never closed is none
        return text.replace(";", "\t")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=";"))
    except csv.Error:  # a cell as long as a book
        return text.replace(";", "\t")
    return "\n".join("\t".join(" ".join(cell.split()) for cell in row) for row in rows)


def _mail(document: Document, depth: int) -> Iterator[Reading]:
    if depth > MAX_DEPTH:
        raise BadInput(f"{document.name} holds mails within mails, too deep to follow.")
    message = email.message_from_bytes(document.data, policy=email.policy.default)
    headers = {name: _header(message, name) for name in _HEADERS}
    headers = {name: value for name, value in headers.items() if value}
    if not headers:
        raise BadInput(f"{document.name} is not a mail: it has none of the headers From, To, Date and Subject.")
    part = message.get_body(preferencelist=("plain", "html"))
    text = _part_text(part) if part is not None else ""
    if part is not None and part.get_content_type() == "text/html":
        text = html_text(text)
    plain = _plain(document.name, text)
    yield Reading(name=document.name, media_type="message/rfc822", rows=plain.rows, headers=headers)
    for attached in _attachments(message, document.name):
        # A picture in a signature or a calendar entry must not make the whole mail unreadable.
        if kind_of(attached) in {*_SUFFIX.values()}:
            yield from read(attached, depth + 1)


def _header(message: email.message.EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except (ValueError, IndexError, AttributeError):  # the header parser's answers to a malformed header
        return ""


def _part_text(part: email.message.EmailMessage | email.message.MIMEPart) -> str:
    try:
        return str(part.get_content())
    except (LookupError, UnicodeError):  # a charset nobody knows
        payload = part.get_payload(decode=True)
        return payload.decode("latin-1") if isinstance(payload, bytes) else ""


def _attachments(message: email.message.EmailMessage, name: str) -> Iterator[Document]:
    for number, part in enumerate(message.iter_attachments(), start=1):
        if part.get_content_type() == "message/rfc822":
            inner = part.get_payload()
            first = inner[0] if isinstance(inner, list) and inner else None
            data = first.as_bytes() if isinstance(first, email.message.Message) else b""
        else:
            payload = part.get_payload(decode=True)
            data = payload if isinstance(payload, bytes) else b""
        if data:
            title = part.get_filename() or f"{name}#{number}"
            yield Document(name=title, media_type=part.get_content_type(), data=data)


_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "div",
        "dl",
        "dt",
        "dd",
        "fieldset",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "tr",
        "ul",
        "title",
    ]
)
_SILENT = frozenset({"script", "style", "head", "template", "noscript"})


class _Stripper(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base's
        if tag in _SILENT:
            self._silent.append(tag)
        elif tag in _BLOCKS:
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append("\t")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            self._silent.remove(tag)
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            # A line break in HTML's source is a blank.
            self.parts.append(data.replace("\n", " ").replace("\t", " "))


def html_text(source: str) -> str:
    """The visible text of an HTML page: blocks on lines of their own, table cells divided by tabs."""
    stripper = _Stripper()
    stripper.feed(source)
    stripper.close()
    lines = (
        "\t".join(" ".join(cell.split()) for cell in line.split("\t")) for line in "".join(stripper.parts).split("\n")
    )
    kept = [line.strip("\t ") for line in lines]
    return "\n".join(line for line, before in zip(kept, ["", *kept], strict=False) if line or before)
