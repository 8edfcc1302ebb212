"""Texts from one format into another: text, markdown, html, csv, json. Pure.

A table goes between csv, json, markdown and html with every cell as the text it was. What a format cannot hold is
refused, not left out.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from html import escape
from typing import Any

from hocket.core.work import BadInput
from hocket.documents.reading import html_text
from services.workers.analysis.tables import of_csv
from services.workers.translation.markup import markdown_of, markdown_table, tables_of

FORMATS = ("text", "markdown", "html", "csv", "json")
_BY_NAME = {
    ".md": "markdown",
    ".htm": "html",
    ".html": "html",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".txt": "text",
}
_BY_TYPE = {
    "text/markdown": "markdown",
    "text/html": "html",
    "text/csv": "csv",
    "application/json": "json",
}
_MARKDOWN = re.compile(r"(?m)^(?:#{1,6} \S|[-*+] \S|\d+\. \S|> \S|```)|\*\*\S|\]\(|^\|.*\|\s*$")
Rows = list[list[str]]


def format_of(text: str, name: str = "", media_type: str = "") -> str:
    """The format a text is in: as declared, else by its name, else by its looks."""
    declared = _BY_TYPE.get(media_type.partition(";")[0].strip().lower())
    named = next((kind for end, kind in _BY_NAME.items() if name.lower().endswith(end)), None)
    return declared or named or _by_looks(text)


def _by_looks(text: str) -> str:
    start = text.lstrip()
    if start[:1] in ("{", "["):
        try:
            json.loads(text)
        except ValueError:
            pass
        else:
            return "json"
    if re.match(r"<(?:!doctype html|html|body|p|div|h[1-6]|table|ul|ol)\b", start, re.IGNORECASE):
        return "html"
    return "markdown" if _MARKDOWN.search(text) else "text"


def converted(text: str, source: str, target: str) -> str:
    """The text in the target format. Raises BadInput when the target cannot hold it."""
    if source == target:
        return text
    if target in ("csv", "json") or source in ("csv", "json"):
        return _data(text, source, target)
    return _MARKUP[source, target](text)


def _html_of_markdown(text: str) -> str:
    from markdown_it import MarkdownIt

    # Raw HTML inside is shown, not passed on: the text may come from anywhere.
    return str(MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).render(text))


def _html_of_text(text: str) -> str:
    paragraphs = [part.strip("\r\n") for part in re.split(r"(?:\r?\n[ \t]*){2,}", text.strip())]
    return "".join(f"<p>{escape(part, quote=False).replace(chr(10), '<br>' + chr(10))}</p>\n" for part in paragraphs)


def _text_of_html(text: str) -> str:
    return html_text(text).strip() + "\n"


_MARKUP: dict[tuple[str, str], Callable[[str], str]] = {
    ("markdown", "html"): _html_of_markdown,
    ("markdown", "text"): lambda text: _text_of_html(_html_of_markdown(text)),
    ("html", "markdown"): markdown_of,
    ("html", "text"): _text_of_html,
    ("text", "html"): _html_of_text,
    ("text", "markdown"): lambda text: re.sub(
        r"(?m)^(\s*)([#>+-]|\d+\.)(?=\s)", r"\1\\\2", re.sub(r"([\\`*_\[\]<])", r"\\\1", text)
    ),
}


def _data(text: str, source: str, target: str) -> str:
    if source == "json" and target in ("text", "markdown", "html"):
        found = _parsed(text)
        rows = _flat(found)
        if rows is None:
            pretty = json.dumps(found, indent=2, ensure_ascii=False)
            fenced = f"```json\n{pretty}\n```\n"
            return {"text": f"{pretty}\n", "markdown": fenced}.get(
                target
            ) or f"<pre>{escape(pretty, quote=False)}</pre>\n"
    else:
        rows = _rows(text, source)
    return _written(rows, target)


def _rows(text: str, source: str) -> Rows:
    if source == "csv":
        table = of_csv("the CSV", text)
        return _csv_rows(text, table.delimiter or ",")
    if source == "json":
        rows = _flat(_parsed(text))
        if rows is None:
            raise BadInput("Only a JSON list of flat objects can become a table: this one is nested or no list.")
        return rows
    if source == "text":
        raise BadInput("A plain text has no table that could become CSV or JSON: send CSV, Markdown or HTML.")
    tables = tables_of(_html_of_markdown(text) if source == "markdown" else text)
    if len(tables) != 1:
        raise BadInput(f"There must be exactly one table to convert; the document has {len(tables)}.")
    return tables[0]


def _csv_rows(text: str, delimiter: str) -> Rows:
    body = text.partition("\n")[2] if text[:4].lower() == "sep=" else text
    rows = [row for row in csv.reader(io.StringIO(body), delimiter=delimiter) if any(cell.strip() for cell in row)]
    if not rows:
        raise BadInput("The CSV has no rows.")
    return [[cell.strip() for cell in row] for row in rows]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"This is not JSON: {error}.") from error


def _flat(found: Any) -> Rows | None:
    """A list of objects without anything nested as rows, None for any other shape."""
    if not isinstance(found, list) or not found or not all(isinstance(item, dict) for item in found):
        return None
    if any(isinstance(value, list | dict) for item in found for value in item.values()):
        return None
    names = list(dict.fromkeys(name for item in found for name in item))
    return [names, *([_plain(item.get(name)) for name in names] for item in found)]


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _written(rows: Rows, target: str) -> str:
    width = max(len(row) for row in rows)
    rows = [row + [""] * (width - len(row)) for row in rows]
    if target == "markdown":
        return markdown_table(rows) + "\n"
    if target == "json":
        head = rows[0]
        if len(set(head)) < len(head):
            raise BadInput("Two columns have one name: an object cannot hold both. Rename one.")
        return json.dumps([dict(zip(head, row, strict=True)) for row in rows[1:]], indent=2, ensure_ascii=False) + "\n"
    if target == "html":
        top = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
        body = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows[1:]]
        lines = "".join(f"<tr>{line}</tr>\n" for line in body)
        return f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{lines}</tbody>\n</table>\n"
    out = io.StringIO()
    csv.writer(out, delimiter="\t" if target == "text" else ",", lineterminator="\n").writerows(rows)
    return out.getvalue()
