"""Outcomes on local disk until Kafka has them: what a killed worker had paid for and not yet sent.

A worker writes an outcome into this file before it hands it to the client. When it was killed meanwhile and comes back
on the same disk (a container that was out of memory, a process that its supervisor starts again), it sends what is left
in here instead of calling a model again. The file is not synchronised: it survives the process, not the machine, after
whose loss such calls are repeated as without it.

Each entry is a head (length, CRC-32, number) and a body in MessagePack; a head without a body says that the outcome of
this number is safe. What a kill has torn ends the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgpack

from hocket.kafka.job import Ident
from hocket.kafka.log import Message
from hocket.runtime.settings import Settings

log = logging.getLogger(__name__)

ROOMY = 8 * 1024 * 1024
"""Bytes beyond which what is safe is thrown out of the file while something else is kept."""
_HEAD = struct.Struct(">IIQ")


class Left(NamedTuple):
    """An outcome of the last run that was not known to be safe; `at_ms` is when it was written here."""

    number: int
    ident: Ident
    at_ms: int
    messages: tuple[Message, ...]


class Journal:
    """The file of one worker and task topic. Used by one process at a time: raises BlockingIOError if another has it,
    and OSError if it cannot be written at all. Later it never raises: without room on the disk, outcomes are sent
    without having been kept. Every call blocks for as long as the disk's cache takes, some microseconds."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = _open(path)
        self._number = 0
        self._size = 0
        self._kept: dict[int, tuple[int, int]] = {}  # where each entry begins, and its length
        self._marks = b""  # of outcomes that are safe, not written yet
        self._complained = False
        self.left = self._read()
        """What the last run left; `safe` takes it out of the file."""

    def keep(self, ident: Ident, at_ms: int, messages: Sequence[Message]) -> int:
        """Writes an outcome down. Returns the number by which `safe` knows it."""
        self._number += 1
        start = self._size + len(self._marks)
        entry = _framed(self._number, msgpack.packb((ident, at_ms, messages)))
        if self._append(self._marks + entry):
            self._marks = b""
            self._kept[self._number] = (start, len(entry))
        return self._number

    def safe(self, number: int) -> None:
        """Kafka has the outcome. When no other is kept the file is emptied; else that is written with the next one: if
        a kill comes before, the outcome is found where it belongs."""
        if self._kept.pop(number, None) is None:
            return
        if not self._kept:
            self._clear()
            return
        self._marks += _framed(number, b"")
        if self._size > ROOMY and 2 * sum(length for _, length in self._kept.values()) < self._size:
            self._shorten()

    def close(self) -> None:
        """Lets another process have the file. May be repeated."""
        if self._file >= 0:
            if self._marks:
                self._append(self._marks)
            os.close(self._file)
            self._file = -1

    def _append(self, entry: bytes) -> bool:
        try:
            written = os.write(self._file, entry)
        except OSError as e:
            self._complain(str(e))
            return False
        if written == len(entry):
            self._size += written
            self._complained = False
            return True
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self._size)  # half an entry would hide those that follow
        self._complain("the disk is full")
        return False

    def _complain(self, why: str) -> None:
        if not self._complained:
            log.warning("%s cannot be written (%s): calls may be repeated if this process is killed", self._path, why)
        self._complained = True

    def _clear(self) -> None:
        try:
            os.ftruncate(self._file, 0)
        except OSError as e:
            self._complain(str(e))
        else:
            self._size, self._marks = 0, b""

    def _shorten(self) -> None:
        """A new file in the place of the old one, with what is not safe yet."""
        beside = self._path.with_suffix(".new")
        file = -1
        try:
            entries = [os.pread(self._file, length, start) for start, length in self._kept.values()]
            beside.unlink(missing_ok=True)
            file = _open(beside)
            if os.write(file, b"".join(entries)) < sum(map(len, entries)):
                raise OSError("the disk is full")  # noqa: TRY301 - what it is when there is room for a part only
            beside.rename(self._path)
        except OSError as e:
            self._complain(str(e))
            if file >= 0:
                os.close(file)
            return
        os.close(self._file)
        self._file, self._size, self._marks = file, 0, b""
        for number, entry in zip(self._kept, entries, strict=True):
            self._kept[number] = (self._size, len(entry))
            self._size += len(entry)

    def _read(self) -> tuple[Left, ...]:
        data = os.pread(self._file, os.fstat(self._file).st_size, 0)
        bodies: dict[int, bytes] = {}
        for number, start, body in _entries(data):
            self._number = max(self._number, number)
            self._size = start + _HEAD.size + len(body)
            if body:
                bodies[number] = body
                self._kept[number] = (start, _HEAD.size + len(body))
            else:
                bodies.pop(number, None)
                self._kept.pop(number, None)
        os.ftruncate(self._file, self._size)
        found = [(number, _left(number, body)) for number, body in bodies.items()]
        for number, outcome in found:
            if outcome is None:
                self.safe(number)
        return tuple(outcome for _, outcome in found if outcome is not None)


def open_journal(settings: Settings, topic: str) -> Journal | None:
    """The journal of this process for a task topic; None, with a word of why, where there cannot be one."""
    if not settings.journal:
        return None
    path = settings.state_dir / settings.instance / f"{topic}.outcomes"
    try:
        return Journal(path)
    except BlockingIOError:
        why = f"another process uses it; give each a HOCKET_INSTANCE of its own (this one's is {settings.instance!r})"
    except OSError as e:
        why = f"{e.strerror or e}; let HOCKET_STATE_DIR name a folder that can be written"
    log.warning("%s is not used: %s. If this process is killed, calls may be repeated that had just ended", path, why)
    return None


def _open(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise
    return file


def _framed(number: int, body: bytes) -> bytes:
    return _HEAD.pack(len(body), zlib.crc32(body, number & 0xFFFFFFFF), number) + body


def _entries(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, place and body of each whole entry."""
    start = 0
    while start + _HEAD.size <= len(data):
        length, crc, number = _HEAD.unpack_from(data, start)
        body = data[start + _HEAD.size : start + _HEAD.size + length]
        if len(body) < length or zlib.crc32(body, number & 0xFFFFFFFF) != crc:
            return
        yield number, start, body
        start += _HEAD.size + length


def _left(number: int, body: bytes) -> Left | None:
    """The outcome; None when another version of Hocket wrote it so that this one cannot read it."""
    try:
        (partition, offset, timestamp), at_ms, messages = msgpack.unpackb(body, use_list=False)
        told = (Message(topic, key, value, list(headers)) for topic, key, value, headers in messages)
        return Left(number, (partition, offset, timestamp), at_ms, tuple(told))
    except (ValueError, TypeError) as e:
        log.warning("an outcome of the last run cannot be read, its task runs again: %r", e)
        return None
