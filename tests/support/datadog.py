"""The alerts as Datadog monitors: the same conditions over what its OpenMetrics check collects, one for each alert.

The check (pod annotations by the chart, or as in docs/howto/observe.md) has the namespace `hocket`; it appends `.count`
to counters without `_total`, `.bucket` to histograms. `python -m tests.support.reference` writes the file.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.support.tree import ROOT

PATH = "helm/hocket/files/datadog/monitors.json"
RULES = "helm/hocket/files/alerts/hocket.rules.yaml"


def _count(metric: str, tags: str = "*", by: str = "") -> str:
    return f"sum:hocket.{metric}.count{{{tags}}}{f' by {{{by}}}' if by else ''}.as_count()"


def _share(part: str, whole: str) -> str:
    return f"({part}) / ({whole})"


_ENDED = ("completed", "failed")
_PLANNING, _WORK = "specialty:planning", "!specialty:planning"
_GONE = ("overloaded", "unavailable", "timeout", "rate_limited")
_CALLS = "hocket_model_calls"
QUERIES: dict[str, tuple[str, str, float]] = {
    "HocketOrchestratorLate": (
        "min(last_2m)",
        "max:hocket.hocket_consumer_group_lag_seconds{group:*hocket-aggregator OR group:*hocket-planner} by {group}",
        15,
    ),
    "HocketPlannerErrors": (
        "sum(last_10m)",
        _share(
            _count("hocket_tasks_failed", _PLANNING),
            " + ".join(_count(f"hocket_tasks_{e}", _PLANNING) for e in _ENDED),
        ),
        0.05,
    ),
    "HocketAggregatorCrashes": ("sum(last_15m)", _count("hocket_aggregator_dead_letters", "kind:crashed"), 0),
    "HocketAnswersSlow": ("avg(last_10m)", "p95:hocket.hocket_answer_seconds{*}", 300),
    "HocketAnswersFailing": (
        "sum(last_15m)",
        _share(
            " + ".join(_count("hocket_answers", f"status:{s}") for s in ("failed", "expired")),
            _count("hocket_answers"),
        ),
        0.05,
    ),
    "HocketWorkersLate": (
        "min(last_5m)",
        "max:hocket.hocket_consumer_group_lag_seconds{group:*hocket-worker-*} by {group}",
        300,
    ),
    "HocketWorkerErrors": (
        "sum(last_15m)",
        _share(
            _count("hocket_tasks_failed", _WORK, "specialty"),
            " + ".join(_count(f"hocket_tasks_{e}", _WORK, "specialty") for e in _ENDED),
        ),
        0.15,
    ),
    "HocketPartitionStuck": (
        "min(last_2m)",
        "max:hocket.hocket_consumer_group_status{*} by {group,topic,partition}",
        1,
    ),
    "HocketNoConsumer": ("min(last_2m)", "max:hocket.hocket_consumer_group_status{*} by {group}", 2),
    "HocketRecordsLost": ("max(last_5m)", "sum:hocket.hocket_consumer_group_lost{*} by {group,topic}", 0),
    "HocketDeadLetters": ("sum(last_15m)", _count("hocket_dead_letters", by="topic,kind"), 0),
    "HocketMonitorBlind": ("min(last_5m)", "max:hocket.hocket_offsets_age_seconds{*}", 60),
    "HocketProviderErrors": (
        "sum(last_2m)",
        _share(
            " + ".join(_count(_CALLS, f"outcome:{o}", "engine") for o in _GONE),
            _count(_CALLS, by="engine"),
        ),
        0.2,
    ),
    "HocketBreakerOpen": ("min(last_2m)", "max:hocket.hocket_model_breaker{*} by {engine}", 1),
    "HocketProviderBlocked": ("sum(last_10m)", _count("hocket_provider_blocked", by="provider,kind"), 0),
    "HocketBudgetBurn": ("sum(last_10m)", _count("hocket_model_cost_usd"), 20),
    "HocketBudgetSpent": ("sum(last_10m)", _count("hocket_accounts_refused", "kind:tenant"), 0),
}
"""alert -> evaluation window, query, threshold that must be exceeded."""


def monitors() -> list[dict[str, Any]]:
    """As Datadog's API takes them (POST /api/v1/monitor)."""
    rules = [r for g in yaml.safe_load((ROOT / RULES).read_text("utf-8"))["groups"] for r in g["rules"]]
    return [_monitor(rule, *QUERIES[rule["alert"]]) for rule in rules]


def _monitor(rule: dict[str, Any], window: str, query: str, threshold: float) -> dict[str, Any]:
    blind = rule["alert"] == "HocketMonitorBlind"
    return {
        "name": rule["alert"],
        "type": "query alert",
        "query": f"{window}:{query} > {threshold:g}",
        "message": f"See {rule['annotations']['runbook']}",
        "tags": ["service:hocket", *(f"{k}:{v}" for k, v in sorted(rule["labels"].items()))],
        "priority": 1 if rule["labels"]["severity"] == "critical" else 3,
        "options": {
            "thresholds": {"critical": threshold},
            "notify_no_data": blind,
            **({"no_data_timeframe": 10} if blind else {}),
        },
    }


def page() -> dict[str, str]:
    """The file, by its path."""
    return {PATH: json.dumps(monitors(), indent=1) + "\n"}
