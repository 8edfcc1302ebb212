"""`hocket dev` in a terminal: the stack's lines with their service in front, and where things are."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TextIO

from hocket.cli.base import COMPLETE, WRONG, Globals, say
from hocket.local.dev import DevError, DevStack
from hocket.local.stack import DevOptions

_COLOURS = (36, 33, 35, 34, 32, 96, 93, 95, 94, 92)
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_FIGURES = re.compile(r"\d+")
_REPEAT_SECONDS = 5.0
_REMEMBERED = 200


class Prefixed:
    """Prints lines of several services, each with its name in front; safe to call from their threads."""

    def __init__(self, stream: TextIO, *, colours: bool, now: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._colours, self._now = stream, colours, now
        self._given: dict[str, int] = {}
        self._shown: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def __call__(self, service: str, line: str) -> None:
        """Prints one line; of lines that differ only in their figures, one in five seconds (the log file has all)."""
        with self._lock:
            if self._repeated(service, line):
                return
            colour = self._given.setdefault(service, _COLOURS[len(self._given) % len(_COLOURS)])
            name = f"{service:<12}"
            shown = f"\x1b[{colour}m{name}\x1b[0m {line}" if self._colours else f"{name} {_ESCAPES.sub('', line)}"
            print(shown, file=self._stream, flush=True)

    def _repeated(self, service: str, line: str) -> bool:
        key, now = (service, _FIGURES.sub("0", line)), self._now()
        if now - self._shown.get(key, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return True
        self._shown.pop(key, None)
        self._shown[key] = now  # at the end: the oldest stand first
        if len(self._shown) > _REMEMBERED:
            del self._shown[next(iter(self._shown))]
        return False


def places(stack: DevStack) -> str:
    """Where the stack's parts are, and what to try."""
    settings = stack.settings
    lines = [
        f"  Kafka      {settings.bootstrap}" + (f"   prefix {settings.prefix}" if settings.prefix else ""),
        f"  monitor    {stack.monitor_url}",
        f"  data       {stack.folder}" + ("   (removed at the end)" if stack.options.ephemeral else ""),
        f"  logs       {stack.folder / 'logs'}",
    ]
    return "\n".join(["", "Hocket is up.", *lines, "", '  try:  hocket ask "..." -a FILE      end with Ctrl-C', ""])


def interrupt_on_signals() -> None:
    """SIGTERM and a closed terminal end the stack as Ctrl-C does; so does SIGINT where a shell has it ignored."""

    def raised(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), raised)


def run_dev(
    given: Globals,
    *,
    ephemeral: bool,
    isolate: bool,
    data: Path | None,
    partitions: int | None,
    specialties: Path | None,
    workflows: Path | None,
) -> int:
    """Runs the stack until Ctrl-C (exit code 0), or until it cannot go on (1, with the reason).

    A broker or prefix in the environment counts as given: the client commands in the same shell will use them, too.
    """
    options = DevOptions(
        bootstrap=given.bootstrap or os.environ.get("HOCKET_BOOTSTRAP") or None,
        prefix=os.environ.get("HOCKET_PREFIX", "") if given.prefix is None else given.prefix,
        ephemeral=ephemeral,
        isolate=isolate,
        data=data,
        partitions=partitions,
        specialties=specialties,
        workflows=workflows,
    )
    interrupt_on_signals()
    out = Prefixed(sys.stdout, colours=sys.stdout.isatty())
    stack = DevStack(options, say=out)
    begun = time.monotonic()
    try:
        stack.start()
        print(places(stack), flush=True)
        out("dev", f"up after {time.monotonic() - begun:.1f} s")
        stack.wait()
    except KeyboardInterrupt:
        say("\nstopping ...")
    except DevError as e:
        say(f"hocket: {e}")
        return WRONG
    finally:
        stack.stop()
    say("stopped")
    return COMPLETE
