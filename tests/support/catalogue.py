"""Every metric that a Hocket service publishes, from where it is defined: name, kind, labels, meaning, whose it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from prometheus_client.metrics import MetricWrapperBase

from hocket.runtime import metrics
from services.monitor.metrics import ANSWER_SECONDS, ANSWER_SECONDS_MEANS, COUNTERS, GAUGES
from tests.support.tree import python, text

WORKERS = "planner, workers"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@dataclass(frozen=True, kw_only=True)
class Known:
    """One metric. `name` is as in its definition; `series` are the names that queries use."""

    name: str
    kind: str
    labels: tuple[str, ...]
    means: str
    of: str

    @property
    def series(self) -> tuple[str, ...]:
        return tuple(self.name + suffix for suffix in SUFFIXES[self.kind])

    @property
    def shown(self) -> str:
        return self.name + ("_total" if self.kind == "counter" else "")


def catalogue() -> list[Known]:
    """All of them, by name."""
    found = [
        Known(
            name=m._name,
            kind=m._type,
            labels=tuple(m._labelnames),
            means=m._documentation,
            of="aggregator" if name in _of_aggregator() else WORKERS,
        )
        for name, m in vars(metrics).items()
        if isinstance(m, MetricWrapperBase)
    ]
    for kind, table in (("gauge", GAUGES), ("counter", COUNTERS)):
        found += [
            Known(name=name, kind=kind, labels=labels, means=means, of="monitor")
            for name, (labels, means) in table.items()
        ]
    found.append(Known(name=ANSWER_SECONDS, kind="histogram", labels=(), means=ANSWER_SECONDS_MEANS, of="monitor"))
    return sorted(found, key=lambda m: m.name)


def _of_aggregator() -> set[str]:
    source = "".join(text(p) for p in python("services") if p.parts[1] == "aggregator")
    return set(re.findall(r"\bmetrics\.([A-Z_]+)\b", source))


def named_in(expression: str) -> set[str]:
    """The metric names of ours in a PromQL expression."""
    return set(re.findall(r"\b(hocket_[a-z0-9_]+)", re.sub(r'"[^"]*"', "", expression)))


def labels_in(expression: str) -> set[str]:
    """Labels that it selects or groups by."""
    grouped = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    selected = re.findall(r"\{([^}]*)\}", expression)
    found = {name.strip() for group in grouped for name in group.split(",")}
    return (found | {m for s in selected for m in re.findall(r"([a-z_]+)\s*(?:=|!=|=~|!~)", s)}) - {""}
