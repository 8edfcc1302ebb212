"""Every metric of aggregator, planner and workers: its name once, what it means, and what to do when it moves.

Labels are few and closed (the specialty; `planning` for the planner): never a request, a tenant or a worker id.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_BY = ("specialty",)
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300)

STARTED = Counter(
    "hocket_tasks_started", "Tasks taken up. Flat while consumer lag grows: workers are full or stuck.", _BY
)
COMPLETED = Counter("hocket_tasks_completed", "Tasks with an output (or a plan).", _BY)
FAILED = Counter(
    "hocket_tasks_failed",
    "Tasks that ended with an error, which the requests' receipts name. Rising: read those, or the worker's log.",
    _BY,
)
SECONDS = Histogram(
    "hocket_task_seconds", "From start to acknowledged outcome. Rising: slow models or engines.", _BY, buckets=_SECONDS
)
IN_FLIGHT = Gauge(
    "hocket_tasks_in_flight", "Running now. At HOCKET_CONCURRENCY for long: add workers or raise it.", _BY
)
QUEUED = Gauge("hocket_tasks_queued", "Fetched and waiting for a free place. Above 0 for long: add workers.", _BY)
DEAD_LETTERS = Counter(
    "hocket_worker_dead_letters",
    "Records given up. undecodable, invalid: mend their producer. crashed: a defect of ours, see the log. "
    "too_large: the specialty's output is too big for a record.",
    (*_BY, "kind"),
)
COMMIT_FAILURES = Counter(
    "hocket_commit_failures",
    "Offsets not committed because the group had moved on; the new owner repeats some work. "
    "Rising outside of deploys: members come and go, or the event loop blocks longer than the session time-out.",
    _BY,
)
PROGRESS_DROPPED = Counter(
    "hocket_progress_dropped",
    "Progress records dropped because Kafka took them too slowly. Harmless; check the broker.",
    _BY,
)

DISPATCHED = Counter(
    "hocket_tasks_dispatched", "Tasks sent to a specialty (or the planner). Flat while requests come: see the log.", _BY
)
ANSWERED = Counter(
    "hocket_requests_answered", "Terminal answers by status. failed or expired rising: read the receipts.", ("status",)
)
DROPPED = Counter(
    "hocket_records_dropped",
    "Joined records that changed nothing: duplicate_*, late_* are the price of at-least-once workers. "
    "stray_*: somebody writes records for requests that do not exist.",
    ("reason",),
)
FORWARDED = Counter(
    "hocket_records_forwarded",
    "Records moved to the partition of their key. Rising: a producer does not use murmur2; mend its partitioner.",
    ("topic",),
)
AGGREGATOR_DEAD_LETTERS = Counter(
    "hocket_aggregator_dead_letters",
    "Records that the aggregator gave up; see the monitor's hocket_dead_letters_total.",
    ("kind",),
)
