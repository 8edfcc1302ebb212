"""Pages as pictures and as PDF: cells with their boxes, by PDFium where there is a text layer, by OCR where not.

Both libraries are loaded at the first page. PDFium must not be called from two threads at once, and one OCR call
already uses the threads it is allowed, so that each has a lock and later callers wait.
"""

import io
import re
import threading
from collections.abc import Iterator
from typing import Any

from hocket.core.work import BadInput, Document
from hocket.documents.layout import Cell

MAX_PAGES = 100
MAX_SCANNED_PAGES = 20
MAX_PIXELS = 60_000_000
_OCR_THREADS = 2
_OCR_DPI = 180
_SIDE = 1900  # RapidOCR shrinks what is larger than 2,000 pixels
_SURE = 0.6  # a line that OCR is less sure of is more often a stain than a text

_MISREAD_COMMA = re.compile(r"(?<=\d);(?=\d{3}(?!\d))")
_SPECK = 4  # pixels; a full stop in the smallest print OCR can read has more

_ocr_lock = threading.Lock()
_pdf_lock = threading.Lock()
_ocr_engine: list[Any] = []


def cells_of_picture(document: Document) -> list[Cell]:
    """Read every frame of a PNG, JPEG or TIFF."""
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


def cells_of_pdf(document: Document) -> list[Cell]:
    """Read the text layer; render and OCR the pages that have none."""
    import pypdfium2

    with _pdf_lock:
        try:
            pdf = pypdfium2.PdfDocument(document.data)
        except pypdfium2.PdfiumError as error:
            reason = "is encrypted: send it without a password" if "password" in str(error).lower() else "is broken"
            raise BadInput(f"{document.name} is not a readable PDF: it {reason}.") from error
        try:
            if len(pdf) > MAX_PAGES:
                raise BadInput(f"{document.name} has more than {MAX_PAGES} pages: send it in parts.")
            pages = [_page(pdf[number], number) for number in range(len(pdf))]
        finally:
            pdf.close()
    scanned = [picture for _, picture in pages if picture is not None]
    if len(scanned) > MAX_SCANNED_PAGES:
        raise BadInput(f"{document.name} has more than {MAX_SCANNED_PAGES} scanned pages: send it in parts.")
    cells: list[Cell] = []
    for number, (written, picture) in enumerate(pages):
        cells += written if picture is None else _cells_of_frame(picture, number)
    return cells


def _page(page: Any, number: int) -> tuple[list[Cell], Any]:
    """The page's written cells, and its picture if it has (almost) none."""
    text = page.get_textpage()
    top = page.get_height()
    cells: list[Cell] = []
    for index in range(text.count_rects()):
        left, bottom, right, upper = text.get_rect(index)
        words = " ".join(text.get_text_bounded(left, bottom, right, upper).split())
        if words:
            cells.append(Cell(text=words, x0=left, y0=top - upper, x1=right, y1=top - bottom, page=number))
    if sum(len(cell.text) for cell in cells) >= 20:
        return cells, None
    return cells, page.render(scale=_OCR_DPI / 72, grayscale=True).to_pil()


def _cells_of_frame(frame: Any, number: int) -> list[Cell]:
    import numpy as np

    picture = _upright(frame)
    with _ocr_lock:
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
    """The one OCR engine of the process; call it with the lock held."""
    if not _ocr_engine:
        from rapidocr import RapidOCR

        _ocr_engine.append(
            RapidOCR(
                params={
                    "Global.log_level": "critical",
                    "Global.use_cls": False,
                    "EngineConfig.onnxruntime.intra_op_num_threads": _OCR_THREADS,
                    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                }
            )
        )
    return _ocr_engine[0]


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
