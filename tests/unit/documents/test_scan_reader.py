"""libs/hocket/documents/scan_reader.py: the OCR process, real and played by small programs of the same wire."""

import os
import signal
import sys
import threading
import time

import pytest

from hocket.core.work import BadInput, Document, EngineLost
from hocket.documents.scan_reader import ScanReader

ECHO = (
    "import sys, json\n"
    "while line := sys.stdin.buffer.readline():\n"
    "    asked = json.loads(line); data = sys.stdin.buffer.read(asked['size'])\n"
    "    {special}\n"
    "    print(json.dumps({{'cells': [[data.decode(), 0, 0, 1, 1, 0]]}}), flush=True)\n"
)


def reader(special: str = "pass", **limits) -> ScanReader:
    return ScanReader((sys.executable, "-c", ECHO.format(special=special)), **limits)


def page(text: str = "seen") -> Document:
    return Document(name="page.png", media_type="image/png", data=text.encode())


def wait_for(met, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not met() and time.monotonic() < end:
        time.sleep(0.02)
    return met()


def test_nothing_is_started_before_the_first_page_and_one_process_reads_them_all():
    one = reader()
    assert one.pid is None
    assert one.read(page("a"))[0].text == "a"
    pid = one.pid
    assert one.read(page("b"))[0].text == "b"
    assert one.pid == pid is not None
    one.close()
    assert one.pid is None


def test_a_killed_process_fails_the_page_it_read_and_no_other():
    one = reader("if data == b'slow': import time; time.sleep(30)")
    one.read(page())
    threading.Timer(0.3, os.kill, (one.pid, signal.SIGKILL)).start()
    with pytest.raises(EngineLost, match=r"page\.png: try again"):
        one.read(page("slow"))
    assert one.read(page("after"))[0].text == "after"
    one.close()


def test_a_process_that_dies_while_nobody_asks_is_started_again():
    one = reader()
    one.read(page())
    os.kill(one.pid, signal.SIGKILL)
    assert wait_for(lambda: one.pid is None)
    assert one.read(page("after"))[0].text == "after"
    one.close()


def test_a_process_that_hangs_is_ended():
    one = reader("import time; time.sleep(60)", page_s=0.4)
    started = time.monotonic()
    with pytest.raises(EngineLost):
        one.read(page(), pages=[0])
    assert time.monotonic() - started < 30
    assert one.pid is None


def test_an_idle_process_is_ended():
    one = reader(idle_s=0.3)
    one.read(page())
    pid = one.pid
    assert wait_for(lambda: one.pid is None)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_real_process_says_what_the_client_must_change():
    one = ScanReader()
    with pytest.raises(BadInput, match="not a readable picture"):
        one.read(page("no picture"))
    assert one.pid is not None
    one.close()


def test_where_ocr_is_not_installed_a_scan_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(BadInput, match=r"page\.png is a scan, and this worker cannot read scans.*extra `ocr`"):
        ScanReader().read(page())
