"""HTML as Markdown, and the tables in HTML. Pure."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

_SILENT = frozenset({"script", "style", "head", "template", "noscript"})
_PARAGRAPHS = frozenset(
    {"p", "div", "section", "article", "main", "header", "footer", "figure", "address", "dl", "dd", "dt"}
)
_AROUND = {"strong": "**", "b": "**", "em": "*", "i": "*", "code": "`", "del": "~~", "s": "~~"}
_SPECIAL = re.compile(r"([\\`*_\[\]<])")


@dataclass
class _Table:
    rows: list[list[str]] = field(default_factory=list)

    def markdown(self) -> str:
        return markdown_table(self.rows)


def markdown_table(rows: list[list[str]]) -> str:
    """Rows as a Markdown table, the first one its header."""
    width = max(len(row) for row in rows)
    cells = [[_cell(cell) for cell in row] + [""] * (width - len(row)) for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


class _Writer(HTMLParser):
    """Writes Markdown while it reads. What it has no form for it leaves as its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._silent = 0
        self._pre = False
        self._lists: list[list[int | None]] = []
        self._quotes = 0
        self._links: list[str] = []
        self._table: _Table | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag in ("table", "tr", "td", "th"):
            self._in_table(tag)
        elif self._table is not None:
            return
        elif re.fullmatch(r"h[1-6]", tag):
            self._block("#" * int(tag[1]) + " ")
        elif tag in _PARAGRAPHS:
            self._block()
        elif tag == "pre":
            self._block("```\n")
            self._pre = True
        elif tag == "blockquote":
            self._block()
            self._quotes += 1
            self.out.append("\x00>")
        elif tag in ("ul", "ol"):
            self._lists.append([1 if tag == "ol" else None])
        elif tag == "li":
            self._item()
        else:
            self._inline(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "table" and self._table is not None:
            self._end_table()
        elif self._table is not None:
            return
        elif tag == "pre":
            self._pre = False
            self.out.append("\n```")
            self._block()
        elif tag == "blockquote" and self._quotes:
            self._quotes -= 1
            self.out.append("\x00<")
            self._block()
        elif tag in ("ul", "ol") and self._lists:
            self._lists.pop()
            self._block()
        elif tag in _PARAGRAPHS or re.fullmatch(r"h[1-6]", tag):
            self._block()
        elif tag == "a" and self._links:
            address = self._links.pop()
            self.out.append(f"]({address})" if address else "")
        elif tag in _AROUND and not self._pre:
            self.out.append(_AROUND[tag])

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        if self._table is not None:
            if self._table.rows and self._table.rows[-1]:
                self._table.rows[-1][-1] += data
        elif self._pre:
            self.out.append(data)
        else:
            words = re.sub(r"\s+", " ", data)
            inside_code = "".join(self.out[-1:]).endswith("`")
            self.out.append(words if inside_code else _SPECIAL.sub(r"\\\1", words))

    def _block(self, head: str = "") -> None:
        if not (self._lists and not head):
            self.out.append(f"\n\n{head}")

    def _item(self) -> None:
        depth = max(0, len(self._lists) - 1)
        counter = self._lists[-1] if self._lists else [None]
        mark = "- " if counter[0] is None else f"{counter[0]}. "
        if counter[0] is not None:
            counter[0] += 1
        self.out.append(f"\n\x01{'   ' * depth}{mark}")

    def _inline(self, tag: str, attrs: dict[str, str | None]) -> None:
        if tag == "br":
            self.out.append("  \n")
        elif tag == "hr":
            self._block("---\n\n")
        elif tag == "a":
            address = re.sub(r"\s", "%20", attrs.get("href") or "")
            self._links.append(address)
            self.out.append("[" if address else "")
        elif tag == "img":
            self.out.append(f"![{attrs.get('alt') or ''}]({attrs.get('src') or ''})")
        elif tag in _AROUND and not self._pre:
            self.out.append(_AROUND[tag])

    def _in_table(self, tag: str) -> None:
        if tag == "table":
            if self._table is None:
                self._block()
                self._table = _Table()
        elif self._table is not None and tag == "tr":
            self._table.rows.append([])
        elif self._table is not None:
            if not self._table.rows:
                self._table.rows.append([])
            self._table.rows[-1].append("")

    def _end_table(self) -> None:
        table, self._table = self._table, None
        rows = [[" ".join(cell.split()) for cell in row] for row in (table.rows if table else []) if row]
        if rows:
            self.tables.append(rows)
            self.out.append(markdown_table(rows))
        self._block()


def markdown_of(html: str) -> str:
    """The page as Markdown."""
    text = "".join(_read(html).out)
    lines: list[str] = []
    quotes, fenced = 0, False
    for raw in text.split("\n"):
        quotes = max(0, quotes + raw.count("\x00>") - raw.count("\x00<"))
        line = re.sub(r"\x00[<>]", "", raw)
        fenced ^= line.startswith("```")
        if not fenced:
            hard = line.endswith("  ") and line.strip()
            line = re.sub(r"^ +", "", line) if "\x01" not in line else line.replace("\x01", "")
            line = line.rstrip() + ("  " if hard else "")
        lines.append(f"> {line}" if quotes and line.strip() else line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def tables_of(html: str) -> list[list[list[str]]]:
    """Every table of the page as rows of cells."""
    return _read(html).tables


def _read(html: str) -> _Writer:
    writer = _Writer()
    writer.feed(html)
    writer.close()
    return writer
