"""Asks the OCR process (`ocr.py`): starts it at the first scan, ends it when idle, fails clearly if it dies."""

import atexit
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from hocket.core.work import BadInput, Document, EngineLost
from hocket.documents.layout import Cell

IDLE_S = 30.0
"""So long the process stays for the next scan; starting it again costs about two seconds."""
PAGE_S = 120.0
"""What one page may take at the most, on a busy machine too."""
NO_OCR = (
    "this worker cannot read scans. Send it as text, have the specialty extraction read it first, or let the operator "
    "install the extra `ocr` (the image of worker-extraction has it)."
)
_COMMAND = (sys.executable, "-m", "hocket.documents.ocr")


class ScanReader:
    """One OCR process, shared by all threads: who comes later waits. Nothing of it survives its owner's process.

    `command` is what is started; `idle_s` and `page_s` are seconds.
    """

    def __init__(self, command: Sequence[str] = _COMMAND, *, idle_s: float = IDLE_S, page_s: float = PAGE_S) -> None:
        self._command = tuple(command)
        self._idle_s = idle_s
        self._page_s = page_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ending: threading.Timer | None = None

    @property
    def pid(self) -> int | None:
        """The running process, or None when there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def read(self, document: Document, pages: Sequence[int] | None = None) -> list[Cell]:
        """The cells of a picture, or of these pages of a PDF. Blocks.

        Raises BadInput for what the client must change (or its operator: where OCR is not installed), EngineLost when
        the process died or hung on it: the same document may be tried again, the next call starts a new process.
        """
        if self._command == _COMMAND and importlib.util.find_spec("rapidocr") is None:
            raise BadInput(f"{document.name} is a scan, and {NO_OCR}")
        asked = {"name": document.name, "pages": list(pages) if pages is not None else None, "size": len(document.data)}
        allowed = self._page_s * max(1, 20 if pages is None else len(pages))
        with self._lock:
            self._stay()
            process = self._running()
            line = _within(allowed, process, lambda: _ask(process, asked, document.data))
            if not line.endswith(b"\n"):
                self._end()
                code = process.returncode
                raise EngineLost(
                    f"The OCR process ended (code {code}) while it read {document.name}: try again; if it ends at the "
                    f"same document each time, give the worker more memory or send the document as text."
                )
            self._ending = threading.Timer(self._idle_s, self.close_idle)
            self._ending.daemon = True
            self._ending.start()
        answer = json.loads(line)
        if "bad_input" in answer:
            raise BadInput(answer["bad_input"])
        return [Cell(text=t, x0=x0, y0=y0, x1=x1, y1=y1, page=p) for t, x0, y0, x1, y1, p in answer["cells"]]

    def close(self) -> None:
        """End the process. Waits for a read that is under way."""
        with self._lock:
            self._stay()
            self._end()

    def close_idle(self) -> None:
        """End the process unless it is being asked just now."""
        if self._lock.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._lock.release()

    def _stay(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._end()  # it died while nobody asked it: that is nobody's failure
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - our own module by this very interpreter
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            atexit.register(self.close)
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.close)
        process.kill()  # it holds nothing that could be lost
        process.wait()
        for pipe in (process.stdin, process.stdout):
            _closed(pipe)


def _ask(process: subprocess.Popen[bytes], asked: Mapping[str, object], data: bytes) -> bytes:
    if process.stdin is None or process.stdout is None:
        return b""
    try:
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.write(data)
        process.stdin.flush()
        return process.stdout.readline()
    except OSError:  # a broken pipe: it died before it had read everything
        return b""


def _within(seconds: float, process: subprocess.Popen[bytes], ask: Callable[[], bytes]) -> bytes:
    """Kills the process when it takes longer, which ends the waiting for its answer."""
    alarm = threading.Timer(seconds, process.kill)
    alarm.daemon = True
    alarm.start()
    try:
        return ask()
    finally:
        alarm.cancel()


def _closed(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        try:
            pipe.close()
        except OSError:  # what was still buffered cannot be written to a dead process
            return


shared = ScanReader()
"""The reader of this process."""
