"""The stub worker in a bad state: STUB_FACTOR times as slow as others, or (STUB_SICK) failing every call at once."""

from __future__ import annotations

import os

from hocket.contracts.records import Task
from hocket.runtime.lifecycle import run_service
from tests.support import stub_worker as stub

healthy = stub.seconds_of


def seconds_of(task: Task) -> float:
    """The stub's time for a task in this state."""
    if os.environ.get("STUB_SICK"):
        raise RuntimeError("the model refuses every call")
    return float(os.environ.get("STUB_FACTOR", "1")) * healthy(task)


if __name__ == "__main__":
    stub.seconds_of = seconds_of
    run_service("worker", stub.serve)
