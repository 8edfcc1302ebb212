"""One service of `hocket dev` as a child process: started, watched, its lines passed on, stopped."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from hocket.local import child

LAST_LINES = 15
_LOG_BYTES = 5_000_000
_PROBE_SECONDS = 1.0
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

Say = Callable[[str, str], None]
"""Takes a service's name and one line of its output; called from several threads."""


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    """What to run: a module, its environment beside this process's own, its health port, and where its log is kept."""

    name: str
    module: str
    port: int
    log: Path
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


class Service:
    """One run after the other of the same service. `start`, `poll` and `stop` belong to one thread."""

    def __init__(self, spec: ServiceSpec, say: Say) -> None:
        self.spec = spec
        self.ready = False
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """The process id of the current or last run; 0 before the first."""
        return self._process.pid if self._process is not None else 0

    @property
    def url(self) -> str:
        """Where its health and metrics are served."""
        return f"http://127.0.0.1:{self.spec.port}"

    def start(self) -> None:
        """Starts it. The thread that calls this must live as long as the service: Linux ties the child to it."""
        self.ready = False
        command = [sys.executable, "-m", "hocket.local.child", self.spec.module, *self.spec.arguments]
        own = {child.OWNER: str(os.getpid()), "HOCKET_HTTP_PORT": str(self.spec.port), "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(  # noqa: S603 - our own modules
            command,
            env={**os.environ, **self.spec.env, **own},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the supervisor only, which then stops things in order
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), name=self.spec.name, daemon=True)
        self._reader.start()

    def poll(self) -> int | None:
        """The exit code once it has ended, None while it runs."""
        return None if self._process is None else self._process.poll()

    def probe(self) -> bool:
        """Asks /ready; remembers a yes for this run. May block for a second."""
        if not self.ready:
            try:
                with urlopen(f"{self.url}/ready", timeout=_PROBE_SECONDS) as reply:  # noqa: S310 - http, our own port
                    self.ready = reply.status == 200
            except (URLError, OSError, ValueError):
                return False
        return self.ready

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, seconds: float) -> bool:
        """Waits for the end, kills after `seconds`; whether it ended by itself. Blocks."""
        process = self._process
        if process is None:
            return True
        try:
            process.wait(max(seconds, 0.05))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
        else:
            return True
        finally:
            self.join()

    def join(self) -> None:
        """Waits until the last lines of an ended run have been passed on, and closes its pipes."""
        process, reader = self._process, self._reader
        if reader is not None:
            reader.join(2.0)  # a grandchild may hold the pipe open
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None:
            return
        with contextlib.suppress(OSError, ValueError), LogFile(self.spec.log) as log:
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace").rstrip("\n")
                log.write(line)
                self.last_lines.append(_ESCAPES.sub("", line))
                self._say(self.spec.name, line)


class LogFile:
    """A log that keeps its last megabytes: at the limit it becomes `<name>.1`, and a new one begins."""

    def __init__(self, path: Path, limit: int = _LOG_BYTES) -> None:
        self._path, self._limit = path, limit
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, line: str) -> None:
        """One more line, without terminal colours."""
        self._file.write(_ESCAPES.sub("", line).encode() + b"\n")
        self._file.flush()
        if self._file.tell() >= self._limit:
            self._file.close()
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._file = self._path.open("ab")


def wait_all_ready(services: list[Service], seconds: float, alive: Callable[[], None]) -> list[Service]:
    """Waits for all together; returns those that are not ready in time. `alive` is called in between and may raise."""
    give_up = time.monotonic() + seconds
    while True:
        waiting = [s for s in services if not s.probe()]
        if not waiting or time.monotonic() > give_up:
            return waiting
        alive()
        time.sleep(0.1)
