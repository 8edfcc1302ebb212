# ruff: noqa: E501 - tables and drawings read better unbroken
"""Cold start and memory of the worker host with every local engine loaded: `python -m bench.worker_host`.

The host here is a fresh Python process that imports what `hocket-worker` imports, makes Engines without models, loads
and runs every local engine once on work that it completes (analysis on an .xlsx with a chart, research on a PDF), reads a PDF's text layer, and reads one scan. Counted as the host: that
one process's peak resident memory (VmHWM), Kafka's client libraries included. Not counted: the OCR process, which is
told separately and ends when it has been idle; a broker. No connection is made.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.conditions import conditions, mark

ROOT = Path(__file__).parents[1]
MAX_MB = 250.0
MAX_S = 3.0


def peak_mb(pid: int) -> float:
    """The highest resident memory a running process ever had, in MB (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


_TEXT = (
    "The total of 120.50 EUR is due on 3 May 2026. Sadly, the delivery was late and the box broken. Please pay soon."
)


def _workbook() -> bytes:
    """Two years of monthly sales as .xlsx, so that openpyxl, the statistics and the chart all run."""
    import openpyxl

    book = openpyxl.Workbook()
    for row in [
        ("month", "region", "sales"),
        *((f"{2024 + n // 12}-{n % 12 + 1:02}", "north", 100 + 3 * n) for n in range(24)),
    ]:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _work(name: str) -> Any:
    """A task that the specialty's local engine ends with a result, through all that it leans on."""
    from hocket.core.work import Document, Input, Work

    contract = Document(name="c.pdf", media_type="application/pdf", data=(ROOT / "examples/contract.pdf").read_bytes())
    xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    given: dict[str, Any] = {"instruction": "Look at this.", "text": _TEXT}
    if name == "analysis":
        given["documents"] = (Document(name="sales.xlsx", media_type=xlsx, data=_workbook()),)
    elif name == "research":
        given |= {"instruction": "What is the notice period and the payment?", "documents": (contract,)}
    elif name == "translation":
        given["options"] = {"to": "html"}
    elif name == "decision":
        given["options"] = {"rules": [{"name": "big", "when": "sum.total > 100", "then": "approve"}]}
        given["inputs"] = (Input(task_id="sum", specialty="extraction", output={"total": 120.5}),)
    elif name == "synthesis":
        given["inputs"] = (Input(task_id="sum", specialty="extraction", output={"text": _TEXT}),)
    return Work(task_id="t", specialty=name, **given)


def host(began: float) -> None:
    """The fresh process: prints one line of JSON."""
    from hocket.contracts.specialties import load_specialties
    from hocket.core.work import Document
    from hocket.documents.reading import read
    from hocket.documents.scan_reader import shared
    from hocket.runtime.clock import now_ms
    from services.workers import host as _composition
    from services.workers.engine import Engines

    import aiokafka  # isort: skip - the client that the runtime opens

    told: dict[str, object] = {"imports": [_composition.__name__, aiokafka.__name__]}
    engines = Engines(None, now_ms)
    specialties = load_specialties(None)
    told["ready_s"] = time.clock_gettime(time.CLOCK_MONOTONIC) - began
    told["ready_mb"] = peak_mb(os.getpid())

    async def work_once() -> dict[str, str]:
        ended = {}
        for name, specialty in specialties.items():
            if specialty.has_local:
                outcome = await engines.run(specialty, _work(name), strategy="fast", deadline_ms=None)
                ended[name] = "completed" if outcome.error is None else f"{outcome.error.kind}: {outcome.error.message}"
        return ended

    told["engines"] = asyncio.run(work_once())
    told["loaded_s"] = time.clock_gettime(time.CLOCK_MONOTONIC) - began
    read(Document(name="c.pdf", media_type="application/pdf", data=(ROOT / "examples/contract.pdf").read_bytes()))
    told["loaded_mb"] = peak_mb(os.getpid())
    data = (ROOT / "examples/invoice.png").read_bytes()
    first = time.monotonic()
    read(Document(name="i.png", media_type="image/png", data=data))
    told["first_scan_s"] = time.monotonic() - first
    again = time.monotonic()
    read(Document(name="i.png", media_type="image/png", data=data))
    told["next_scan_s"] = time.monotonic() - again
    told["ocr_mb"] = peak_mb(shared.pid or 0)
    told["host_mb"] = peak_mb(os.getpid())
    shared.close()
    print(json.dumps(told))


def main() -> None:
    """The command."""
    if sys.argv[1:2] == ["host"]:
        host(float(sys.argv[2]))
        return
    print(conditions())
    began = time.clock_gettime(time.CLOCK_MONOTONIC)
    ran = subprocess.run(
        [sys.executable, "-m", "bench.worker_host", "host", str(began)],
        stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    told = json.loads(ran.stdout.splitlines()[-1])
    print(f"engines run once: {told['engines']}")
    print(f"ready to take work:            {told['ready_s']:5.2f} s, {told['ready_mb']:4.0f} MB; at most {MAX_S} s: {mark(told['ready_s'], MAX_S, less=True)}")  # fmt: skip
    print(f"every engine loaded and run:   {told['loaded_s']:5.2f} s, {told['loaded_mb']:4.0f} MB")
    print(f"host's peak, scans read too:            {told['host_mb']:4.0f} MB; at most {MAX_MB:.0f} MB: {mark(told['host_mb'], MAX_MB, less=True)}")  # fmt: skip
    print(f"OCR process's peak:                     {told['ocr_mb']:4.0f} MB (its own; first scan {told['first_scan_s']:.1f} s, next {told['next_scan_s']:.1f} s)")  # fmt: skip
    failed = sorted(name for name, ended in told["engines"].items() if ended != "completed")
    print(f"engines that did not complete: {', '.join(failed) or 'none'}")
    sys.exit(0 if not failed and told["host_mb"] <= MAX_MB and told["ready_s"] <= MAX_S else 1)


if __name__ == "__main__":
    main()
