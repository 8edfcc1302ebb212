"""The only place that reads the wall clock; everything else takes the time as an argument."""

import time


def now_ms() -> int:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000
