"""The join against an independent recomputation: `python -m bench.join_model [--requests 100000] [--first-seed 0]`.

Every request lives in a seeded world (tests/support/join_world.py) of reordered, repeated and late records, aborted
transactions, restarts, cancellations, deadlines, failing and vanishing workers, revised plans, approvals, sessions. It
must end in exactly one answer, the one that the recorded events demand, and its row must be gone after its last timer.
The first request that does not is printed with its seed, and the exit status is 1. One process, no Kafka.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import Counter

from tests.support.join_world import Life, WrongAnswer


def main() -> None:
    """Runs the lives one after the other and prints what happened in them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--first-seed", type=int, default=0)
    asked = parser.parse_args()
    print(
        f"conditions: one process, {os.cpu_count()} cores (load {os.getloadavg()[0]:.1f} at the start), "
        f"Python {platform.python_version()}; {asked.requests} requests from seed {asked.first_seed}",
        flush=True,
    )
    seen: Counter[str] = Counter()
    begun = time.monotonic()
    for seed in range(asked.first_seed, asked.first_seed + asked.requests):
        life = Life(seed=seed)
        try:
            life.run()
        except WrongAnswer as e:
            print(f"WRONG: {e}")
            sys.exit(1)
        _note(seen, life)
    took = time.monotonic() - begun
    print(f"{asked.requests} requests, {seen['records joined']} records in {took:.0f} s: {asked.requests / took:.0f}/s")
    print("\n".join(f"  {n:>9} {what}" for what, n in sorted(seen.items())))
    print("every request: one answer, as recomputed; no task dispatched twice; accounts closed once; no row left")


def _note(seen: Counter[str], life: Life) -> None:
    answer = life.replies[0].answer
    seen[f"answers: {answer.status}"] += 1
    seen["records joined"] += life.steps
    seen["requests with a revised plan"] += bool(answer.receipt.replans)
    seen["requests with a task sent twice (retry, stuck)"] += any(t.dispatches > 1 for t in answer.receipt.tasks)
    seen["requests in a session"] += life.request.session_id is not None
    seen["cancellations sent to workers by the join"] += life.orders
    for reason, n in life.drops.items():
        seen[f"dropped: {reason}"] += n


if __name__ == "__main__":
    main()
