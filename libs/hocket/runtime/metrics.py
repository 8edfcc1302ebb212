"""Every metric of aggregator, planner and workers: its name once, what it means, and what to do when it moves.

Labels are few and closed (the specialty; `planning` for the planner): never a request, a tenant or a worker id.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from hocket.contracts.records import Usage

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series per counter that nobody reads

_BY = ("specialty",)
SECONDS_BOUNDS = (
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    1.5,
    2.5,
    5,
    7.5,
    10,
    15,
    20,
    30,
    40,
    60,
    120,
    300,
    600,
)

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
    "hocket_task_seconds",
    "From start to acknowledged outcome. Rising: slow models or engines.",
    _BY,
    buckets=SECONDS_BOUNDS,
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
LOST_RUNS = Counter(
    "hocket_lost_runs",
    "Earlier runs of ended tasks that were lost with their workers: what they called may be billed, and is in no cost. "
    "Rising: see why workers die (memory, probes, nodes).",
    _BY,
)
PROGRESS_DROPPED = Counter(
    "hocket_progress_dropped",
    "Progress records dropped because Kafka took them too slowly. Harmless; check the broker.",
    _BY,
)

QUEUED_BY_CLASS = Gauge(
    "hocket_tasks_queued_by_priority",
    "Fetched and waiting, by priority (9 is most urgent). 9 above 0 for long: the worker is overloaded, add workers. "
    "Absent: the worker keeps no classes.",
    (*_BY, "priority"),
)
PER_SECOND = Gauge(
    "hocket_tasks_per_second", "Tasks that ended per second, last minute. Falling while lag grows: see p95.", _BY
)
ERROR_RATE = Gauge(
    "hocket_task_error_rate",
    "Share of the last minute's tasks that failed, 0 to 1; NaN when none ended. Above 0.1: read receipts and the log.",
    _BY,
)
P50 = Gauge(
    "hocket_task_p50_seconds", "Median time of the last minute's tasks; NaN when none ended. Rising: slow models.", _BY
)
P95 = Gauge(
    "hocket_task_p95_seconds",
    "95th percentile of the last minute's tasks; NaN when none ended. Rising alone: single calls hang, see retries.",
    _BY,
)
RATE_LIMITED = Counter(
    "hocket_rate_limited",
    "Calls that a provider refused for their rate. Rising: raise the provider's limit, or run less at once.",
    ("engine",),
)
CALLS = Counter(
    "hocket_model_calls",
    "Calls to models by how they ended (completed, or the kind of the failure). Failures rising: see the kind; "
    "overloaded and unavailable are the provider's, malformed and truncated the prompt's or the model's.",
    ("engine", "outcome"),
)
CALL_SECONDS = Histogram(
    "hocket_model_call_seconds",
    "Completed calls to models. Rising: the provider slows down; the router moves to others of the rung by itself.",
    ("engine",),
    buckets=SECONDS_BOUNDS,
)
RUNGS = Counter(
    "hocket_rung_tasks",
    "Tasks by the rung whose output was taken: local, small, middle, frontier, or cache. The share of the cheap rungs "
    "falling: see hocket_escalations for why.",
    (*_BY, "rung"),
)
ESCALATED = Counter(
    "hocket_escalations",
    "Replies that were not good enough, by rung. malformed: they do not fit the record; doubted: low confidence. "
    "Rising: mend the prompt, or start the ladder higher.",
    ("rung", "why"),
)
BREAKER = Gauge(
    "hocket_model_breaker",
    "0 closed, 1 half open, 2 open: the model is left alone after failures. 2 for minutes: the provider is down, or "
    "its key or credit does not do (hocket_provider_blocked).",
    ("engine",),
)
BREAKER_CHANGES = Counter(
    "hocket_model_breaker_changes", "Changes of the breaker's state. Many: the provider flaps.", ("engine", "state")
)
PROVIDER_BLOCKED = Counter(
    "hocket_provider_blocked",
    "Calls refused for the key (auth) or the account's credit (quota). Any: alert; nothing gets better by itself. "
    "Check the key, raise the limit.",
    ("provider", "kind"),
)
BOUND_EXCEEDED = Counter(
    "hocket_model_bound_exceeded",
    "Calls under a cap that cost more than the upper bound that was set aside. Any: the model's tokenizer cuts finer "
    "than expected; lower its chars_per_token in HOCKET_MODELS.",
    ("engine",),
)
RATE_WAITS = Histogram(
    "hocket_rate_wait_seconds",
    "How long calls waited for the fleet's part of a provider's rate. Rising: the limit is reached; raise it with the "
    "provider, and in HOCKET_LIMITS.",
    ("account",),
    buckets=SECONDS_BOUNDS,
)
HEDGES = Counter(
    "hocket_model_hedges",
    "Slow calls that were doubled (begun), and how many of the second ones were first (won). Few won: they only cost.",
    ("engine", "what"),
)
CACHE_LOOKUPS = Counter(
    "hocket_result_cache_lookups",
    "Look-ups in the result cache: hit or miss. Only misses: switch it off.",
    (*_BY, "found"),
)
CACHED_TOKENS = Counter(
    "hocket_model_cached_tokens",
    "Input tokens that the provider read from its prompt cache. Flat where prompts are long: their start changes.",
    ("engine",),
)
TOKENS = Counter(
    "hocket_model_tokens",
    "Tokens of calls to models: input (cached ones included), output. Input rising per task: prompts grow, see "
    "dependencies' outputs; output: see the specialty's prompt.",
    ("engine", "type"),
)
COST = Counter(
    "hocket_model_cost_usd",
    "US dollars that calls to models cost, at list prices. Rising faster than the answers: see hocket_escalations and "
    "hocket_rung_tasks for why dear models are asked.",
    ("engine",),
)
UNPRICED = Counter(
    "hocket_model_unpriced_calls",
    "Calls to models whose price is not known, so that hocket_model_cost_usd leaves them out. Any: give their prices "
    "in HOCKET_PRICES.",
    ("engine",),
)
PRECHECKS = Counter(
    "hocket_prechecks",
    "Tasks that a check stopped, or marked, before a model was paid, by check. Rising: read the receipts.",
    (*_BY, "check"),
)
LIMITED = Gauge(
    "hocket_worker_rate_limited",
    "1 if a provider refused a call of this process for its rate in the last minute; see hocket_rate_limited_total.",
    _BY,
)
PAUSED = Gauge(
    "hocket_partitions_paused",
    "Partitions held but not read now. Above 0 for long: the worker is full or degraded; add workers or see its log.",
    _BY,
)
CANCELS = Counter("hocket_cancels_read", "Cancellations read from control. Flat while clients cancel: see the log.")
BROADCAST_SKIPPED = Counter(
    "hocket_broadcast_skipped",
    "Records of control and handovers that this process could not read. Rising: mend their producer, or update this "
    "worker.",
    ["record"],
)

DISPATCHED = Counter(
    "hocket_tasks_dispatched", "Tasks sent to a specialty (or the planner). Flat while requests come: see the log.", _BY
)
BUNDLED = Counter(
    "hocket_tasks_bundled",
    "Tasks sent with the one before them, because the aggregator is behind. Rising: scale it.",
    _BY,
)
PRESSED = Gauge("hocket_aggregator_pressed", "1 while the aggregator is behind and bundles tasks. Scale it out.")
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
GRANTED = Counter("hocket_accounts_granted", "Commands on accounts that were granted.", ("kind",))
REFUSED = Counter(
    "hocket_accounts_refused",
    "Commands refused or grants revoked. session: clients use one at once; tenant: the day's budget is used up; "
    "provider: the rate is.",
    ("kind",),
)
TABLE_ROWS = Gauge(
    "hocket_table_rows",
    "Rows this process holds: open requests and done markers (requests), accounts. Rising without end: the alarm clock "
    "does not collect, see hocket_wakeups_written_total; or lower HOCKET_DONE_MARKER.",
    ("table",),
)
TABLE_BYTES = Gauge(
    "hocket_table_bytes", "Bytes of these rows' values. Rising faster than the rows: large outputs.", ("table",)
)
TIMERS = Gauge(
    "hocket_timers_held", "Timers due within five minutes that the alarm clock holds. See hocket_table_rows."
)
WAKEUPS = Counter(
    "hocket_wakeups_written", "Timers that came due. Flat while requests expire: the alarm clock stands, see the log."
)
EXPECTED_BACKLOG = Gauge(
    "hocket_expected_backlog",
    "Tasks of requests under way that this process will dispatch next, their dependencies still missing. "
    "High before a specialty's lag grows: scale it out now.",
    _BY,
)

_PARTITION = ("group", "topic", "partition")
LAG_GAUGES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "hocket_consumer_group_net_lag": (
        _PARTITION,
        "Records still to be worked: lag without what is finished ahead and what nobody can read. Rising: add workers",
    ),
    "hocket_consumer_group_lag_seconds": (
        _PARTITION,
        "How long the oldest record still to be worked has waited. Longer than users wait: add workers, or see status",
    ),
    "hocket_consumer_group_status": (
        _PARTITION,
        "0 ok, 1 slow, 2 stuck (held, nothing moves), 3 stopped (nobody holds it). 2: see its log; 3: start some",
    ),
    "hocket_consumer_group_paused": (
        _PARTITION,
        "1 while the owner holds the partition and takes nothing from it. For long: see its log",
    ),
    "hocket_consumer_group_members": (("group",), "Members of the group. 0: nobody does this work"),
    "hocket_consumer_group_idle_members": (
        ("group",),
        "Members without a partition. Above 0 for long: there are more workers than partitions; scale in",
    ),
    "hocket_scaling_desired_workers": (
        ("specialty",),
        "Workers that would end the backlog in time; /scaling/<specialty> tells why. Above what runs: see the quota",
    ),
    "hocket_scaling_backlog": (
        ("specialty",),
        "Tasks that the signal counts: net lag without stuck partitions, and what plans under way dispatch next",
    ),
    "hocket_scaling_age_seconds": (
        ("specialty",),
        "Age of the signal's figures. More than 30: Kafka does not answer the monitor, and the last signal is kept",
    ),
}
"""What the monitor publishes of consumer groups and for autoscalers, beside its older gauges."""


def spent(engine: str, usage: Usage) -> None:
    """A call's tokens and money."""
    CACHED_TOKENS.labels(engine).inc(usage.cached_tokens)
    TOKENS.labels(engine, "input").inc(usage.input_tokens)
    TOKENS.labels(engine, "output").inc(usage.output_tokens)
    if usage.cost_usd is None:
        UNPRICED.labels(engine).inc()
    else:
        COST.labels(engine).inc(usage.cost_usd)


class Meters:
    """The children of one specialty that every task touches, looked up once: the look-up costs more than the count."""

    def __init__(self, specialty: str) -> None:
        self.started = STARTED.labels(specialty)
        self.completed = COMPLETED.labels(specialty)
        self.failed = FAILED.labels(specialty)
        self.seconds = SECONDS.labels(specialty)
        self.in_flight = IN_FLIGHT.labels(specialty)
        self.queued = QUEUED.labels(specialty)
        self.lost_runs = LOST_RUNS.labels(specialty)
        self.progress_dropped = PROGRESS_DROPPED.labels(specialty)
