"""Plain texts as they were sent, down to the last blank: for quoting, for tables, for converting. Pure."""

from hocket.core.work import BadInput, Document

MAX_BYTES = 20 * 1024 * 1024


def decoded(document: Document) -> str:
    """The document's text: UTF-8 or UTF-16 by its marks, else as Windows writes it. Raises BadInput."""
    data = document.data
    if len(data) > MAX_BYTES:
        raise BadInput(f"{document.name} is larger than {MAX_BYTES // 1024 // 1024} MB: send it in parts.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings: tuple[str, ...] = ("utf-16",)
    elif b"\x00" in data[:4096]:
        raise BadInput(f"{document.name} is not text, though it is declared so: send it with its right media type.")
    else:
        encodings = ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")
