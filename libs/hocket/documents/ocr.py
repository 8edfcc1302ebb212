"""OCR, as a process of its own: `python -m hocket.documents.ocr` reads requests from stdin and answers on stdout.

Its libraries take hundreds of megabytes at a page; in a process of their own they leave nothing behind in the worker
when they are ended, and a crash in them ends nothing else. `scan_reader.py` starts, asks and ends it.

The wire: a line of JSON with `size`, then so many bytes. The answer is one line of JSON. End of stdin ends the process.
"""

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from hocket.core.work import BadInput, Document
from hocket.documents.layout import Cell

MAX_SCANNED_PAGES = 20
MAX_PIXELS = 60_000_000
_THREADS = 2
_DPI = 180
_SIDE = 1900  # RapidOCR shrinks what is larger than 2,000 pixels
_DETECTED_SIDE = 1280
"""Lines are looked for in a picture of this size, which decides how much memory a page takes; they are read in full."""
_SURE = 0.6  # a line that OCR is less sure of is more often a stain than a text
_MISREAD_COMMA = re.compile(r"(?<=\d);(?=\d{3}(?!\d))")
_SPECK = 4  # pixels; a full stop in the smallest print OCR can read has more

_engines: list[Any] = []


def cells_of_picture(document: Document) -> list[Cell]:
    """Read every frame of a PNG, JPEG or TIFF. Raises BadInput."""
    from PIL import Image, ImageSequence, UnidentifiedImageError

    cells: list[Cell] = []
    try:
        with Image.open(io.BytesIO(document.data)) as image:
            if getattr(image, "n_frames", 1) > MAX_SCANNED_PAGES:
                raise BadInput(f"{document.name} has more than {MAX_SCANNED_PAGES} pages: send it in parts.")
            for number, frame in enumerate(ImageSequence.Iterator(image)):
                if frame.width * frame.height > MAX_PIXELS:
                    raise BadInput(f"{document.name} has more than {MAX_PIXELS // 1_000_000} million pixels.")
                cells += _cells_of_frame(frame, number)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow reports a broken file by any of these, depending on the format.
        raise BadInput(f"{document.name} is not a readable picture: send it again.") from error
    return cells


def cells_of_pages(document: Document, numbers: list[int]) -> list[Cell]:
    """Render these pages of a PDF, one after the other, and read them."""
    import pypdfium2

    cells: list[Cell] = []
    pdf = pypdfium2.PdfDocument(document.data)
    try:
        for number in numbers:
            page = pdf[number]
            # A page may be of any size; a poster is rendered no larger than a picture would be shrunk to.
            scale = min(_DPI / 72, _SIDE * 1.2 / max(page.get_width(), page.get_height(), 1.0))
            cells += _cells_of_frame(page.render(scale=scale, grayscale=True).to_pil(), number)
    finally:
        pdf.close()
    return cells


def _cells_of_frame(frame: Any, number: int) -> list[Cell]:
    import numpy as np

    picture = _upright(frame)
    found = _engine()(np.asarray(picture.convert("RGB")))
    if found.boxes is None or found.txts is None:
        return []
    cells = []
    for box, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
        words = _MISREAD_COMMA.sub(",", " ".join(str(text).split()))
        if words and float(score) >= _SURE:
            xs, ys = [float(point[0]) for point in box], [float(point[1]) for point in box]
            cells.append(Cell(text=words, x0=min(xs), y0=min(ys), x1=max(xs), y1=max(ys), page=number))
    return cells


def _engine() -> Any:
    if not _engines:
        from rapidocr import RapidOCR

        _engines.append(
            RapidOCR(
                params={
                    "Global.log_level": "critical",
                    "Global.use_cls": False,
                    "Det.limit_type": "max",
                    "Det.limit_side_len": _DETECTED_SIDE,
                    "Rec.rec_batch_num": 1,  # a batch is as wide as its widest line: more memory, no less time
                    "EngineConfig.onnxruntime.intra_op_num_threads": _THREADS,
                    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                }
            )
        )
    return _engines[0]


def _upright(frame: Any) -> Any:
    """The frame in grey on white, turned as its EXIF says, at a size OCR reads well, its lines level."""
    from PIL import Image, ImageOps

    turned = ImageOps.exif_transpose(frame)
    if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
        ground = Image.new("RGBA", turned.size, "white")
        turned = Image.alpha_composite(ground, turned.convert("RGBA"))
    grey = _swept(turned.convert("L"))
    scale = _SIDE / max(grey.size)
    if scale < 1:
        grey = grey.resize((round(grey.width * scale), round(grey.height * scale)), Image.Resampling.LANCZOS)
    angle = skew(grey)
    if abs(angle) < 0.15:
        return grey
    return grey.rotate(-angle, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=255)


def _swept(grey: Any) -> Any:
    """The picture without dust: a speck beside a digit reads as a full stop."""
    import cv2
    import numpy as np
    from PIL import Image

    pixels = np.array(grey)
    paper = int(np.median(pixels))
    dark = (pixels < paper - 40).astype(np.uint8)
    _, marks, stats, _ = cv2.connectedComponentsWithStats(dark, connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] <= _SPECK
    pixels[small[marks]] = paper
    return Image.fromarray(pixels)


def skew(picture: Any) -> float:
    """By how many degrees the lines of a grey picture are turned counter-clockwise, from -6 to 6.

    Level lines give the row sums of dark pixels the sharpest edges: try angles, coarse then fine.
    """
    small = picture.copy()
    small.thumbnail((900, 900))
    best = 0.0
    for width, step in ((6.0, 0.5), (0.5, 0.1)):
        best = max(_angles(best, width, step), key=lambda angle: (_sharpness(small, angle), -abs(angle)))
    return best


def _angles(centre: float, width: float, step: float) -> Iterator[float]:
    for index in range(-round(width / step), round(width / step) + 1):
        yield round(centre + index * step, 3)


def _sharpness(picture: Any, angle: float) -> float:
    import numpy as np
    from PIL import Image

    level = picture.rotate(-angle, resample=Image.Resampling.BILINEAR, fillcolor=255)
    dark = (np.asarray(level) < 160).sum(axis=1).astype(float)
    return float(((dark[1:] - dark[:-1]) ** 2).sum())


def _answer(asked: dict[str, Any], data: bytes) -> dict[str, Any]:
    document = Document(name=asked["name"], media_type="", data=data)
    try:
        pages = asked.get("pages")
        cells = cells_of_picture(document) if pages is None else cells_of_pages(document, pages)
    except BadInput as error:
        return {"bad_input": str(error)}
    return {"cells": [[cell.text, cell.x0, cell.y0, cell.x1, cell.y1, cell.page] for cell in cells]}


def serve(asks: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the asker closes its end. Anything but BadInput ends the process: the asker sees it end."""
    while line := asks.readline():
        asked = json.loads(line)
        answer = _answer(asked, asks.read(asked["size"]))
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def main() -> None:
    """The process. A library that prints must not print into the answers."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
