"""No connection leaves this machine: an audit hook sees every connect of the test process and fails those that would.

Processes that tests start are not seen; they inherit HOCKET_ALLOW_REAL_MODELS=0 instead.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_open = 0


class LeavesTheMachineError(RuntimeError):
    """A test tried to connect to another machine. Point it at a simulated provider."""


def install() -> None:
    """From now on, for the life of the process."""
    sys.addaudithook(_audit)


@contextmanager
def outside() -> Iterator[None]:
    """Lets connections out, for fixtures that fetch what they need."""
    global _open  # noqa: PLW0603 - an audit hook has no other state, and cannot be taken away
    _open += 1
    try:
        yield
    finally:
        _open -= 1


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event != "socket.connect" or _open or not isinstance(args[1], tuple):
        return
    host = args[1][0]
    try:
        inside = ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        inside = host == "localhost"
    if not inside:
        raise LeavesTheMachineError(f"a test connects to {host}")
