"""`python -m hocket.local.child MODULE`: runs a module as __main__, and never outlives the process that started it.

Linux kills the process itself (PR_SET_PDEATHSIG); elsewhere a thread waits for the end of a pipe on standard input
that only the owner holds open. SIGKILL, not SIGTERM: this is for when the owner could not stop things in order.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading

OWNER = "HOCKET_OWNER_PID"
_PR_SET_PDEATHSIG = 1
_USAGE = 2


def die_with_owner(owner: int) -> None:
    """Ties this process's life to its owner's. Exits at once if the owner is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch_pipe, daemon=True).start()
    if os.getppid() != owner:  # it died between the start of this process and the line above
        os.kill(os.getpid(), signal.SIGKILL)


def _watch_pipe() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Runs the module that the command line names."""
    owner = os.environ.get(OWNER, "")
    if len(sys.argv) < 2 or not owner.isdigit():
        print(f"usage: {OWNER}=PID python -m hocket.local.child MODULE [ARGUMENT ...]", file=sys.stderr)  # noqa: T201
        sys.exit(_USAGE)
    die_with_owner(int(owner))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
