"""The file in which outcomes wait until Kafka has them: torn, full, shortened, taken by another process."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.kafka import journal as module
from hocket.kafka.journal import Journal, open_journal
from hocket.kafka.log import Message
from hocket.runtime.settings import Settings

AT = 1_700_000_000_000


def message(text: str, *, size: int = 0) -> Message:
    return Message("results", text.encode(), text.encode() + b"." * size, [("ce_id", text.encode()), ("empty", b"")])


@contextlib.contextmanager
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    try:
        yield opened
    finally:
        opened.close()


def left(path: Path) -> list[str]:
    with journal(path) as found:
        return [outcome.messages[0].value.rstrip(b".").decode() for outcome in found.left]


def test_what_was_not_safe_is_left_as_it_was(tmp_path: Path):
    path = tmp_path / "deep" / "journal"
    with journal(path) as first:
        assert first.left == ()
        first.safe(first.keep((0, 7, AT), AT, [message("a")]))
        assert path.read_bytes() == b"", "no answer stays on the disk when Kafka has it"
        first.keep((1, 8, AT + 1), AT + 2, [message("b"), Message("other", None, b"", [])])
    with journal(path) as second:
        [outcome] = second.left
        assert outcome.ident == (1, 8, AT + 1)
        assert outcome.at_ms == AT + 2
        assert outcome.messages == (message("b"), Message("other", None, b"", []))
        second.safe(outcome.number)
    assert left(path) == []
    assert path.stat().st_mode & 0o777 == 0o600, "it holds answers"


@given(
    sizes=st.lists(st.integers(0, 200), min_size=1, max_size=12),
    safe=st.sets(st.integers(0, 11)),
    cut=st.integers(0, 4_000),
    junk=st.binary(max_size=40),
)
def test_a_torn_end_costs_what_was_torn_and_nothing_before(tmp_path_factory, sizes, safe, cut, junk):
    path = tmp_path_factory.mktemp("torn") / "journal"
    ends: dict[int, int] = {}  # where each entry ends that is still in the file
    open_: set[int] = set()
    with journal(path) as first:
        for i, size in enumerate(sizes):
            number = first.keep((0, i, AT), AT, [message(f"m{i}", size=size)])
            ends[i] = path.stat().st_size
            open_.add(i)
            if i in safe:
                first.safe(number)
                open_.discard(i)
                ends = ends if open_ else {}
    data = path.read_bytes()
    path.write_bytes(data[:cut] if cut < len(data) else data + junk)
    whole = [i for i, end in ends.items() if end <= cut]
    found = left(path)
    assert set(found) >= {f"m{i}" for i in whole if i not in safe}
    assert found == [f"m{i}" for i in whole if f"m{i}" in found]
    if cut >= len(data):
        assert not {f"m{i}" for i in safe} & set(found), "what is safe is known to be when the file was closed"
    with journal(path) as again:
        again.keep((0, 99, AT), AT, [message("later")])
    assert left(path) == [*found, "later"], "what is torn hides nothing that is written after it"


def test_what_another_version_wrote_is_dropped_and_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "journal"
    bodies = (b"\xc1", msgpack.packb(7), msgpack.packb(((0, 1), AT, [])), msgpack.packb(((0, 1, AT), AT, [["t"]])))
    path.write_bytes(b"".join(module._framed(n, body) for n, body in enumerate(bodies, 1)))
    with journal(path) as first:
        assert first.left == ()
        first.keep((0, 7, AT), AT, [message("a")])
    assert left(path) == ["a"]
    assert [r.message.count("its task runs again") for r in caplog.records] == [1] * 4


def test_what_is_safe_is_thrown_out_of_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "ROOMY", 10_000)
    path = tmp_path / "journal"
    with journal(path) as first:
        first.keep((0, 0, AT), AT, [message("kept")])
        for i in range(1, 300):
            first.safe(first.keep((0, i, AT), AT, [message(f"m{i}", size=500)]))
            assert path.stat().st_size < 11_000
        last = first.keep((0, 300, AT), AT, [message("last")])
        with pytest.raises(BlockingIOError):
            Journal(path)
        first.safe(last)
    assert left(path) == ["kept"]
    assert [p.name for p in tmp_path.iterdir()] == ["journal"]


def test_a_full_disk_is_said_once_and_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "journal"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with journal(path) as first:
        first.keep((0, 0, AT), AT, [message("a")])
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, before[1]))
            with caplog.at_level(logging.WARNING):
                numbers = [first.keep((0, i, AT), AT, [message("big", size=100)]) for i in (1, 2)]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        for number in numbers:
            first.safe(number)
        first.keep((0, 3, AT), AT, [message("b")])
    assert left(path) == ["a", "b"]
    assert [r.message.count("calls may be repeated") for r in caplog.records] == [1]


def _hold(path: Path, ready: multiprocessing.synchronize.Event) -> None:
    Journal(path).keep((0, 0, AT), AT, [message("a")])
    ready.set()
    signal.pause()


def test_one_process_at_a_time_and_the_next_one_after_a_kill(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    context = multiprocessing.get_context("spawn")
    settings = Settings(state_dir=tmp_path, instance="w")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "w" / "tasks-writing.outcomes", ready))
    process.start()
    try:
        assert ready.wait(60)
        assert open_journal(settings, "tasks-writing") is None
        assert "HOCKET_INSTANCE" in caplog.text
    finally:
        process.kill()
        process.join(60)
    assert left(tmp_path / "w" / "tasks-writing.outcomes") == ["a"]


def test_without_a_place_to_write_there_is_none_and_it_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").touch()
    assert open_journal(Settings(state_dir=tmp_path / "file", instance="w"), "tasks-writing") is None
    assert "HOCKET_STATE_DIR" in caplog.text
    assert open_journal(Settings(state_dir=tmp_path, instance="w", journal=False), "tasks-writing") is None
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
