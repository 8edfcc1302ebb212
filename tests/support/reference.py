"""The pages that are written from the contract itself: the AsyncAPI document and the reference tables under docs/.

`python -m tests.support.reference` writes them; tests/repo/test_reference.py holds them current.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hocket.contracts.asyncapi import document, dump
from hocket.contracts.codec import record_types, schema
from hocket.contracts.topics import Topics, TopicSpec, load_specs
from hocket.kafka.topic_configs import topic_configs
from hocket.runtime.settings import Settings
from tests.support import dashboards, datadog
from tests.support.avro import named_types
from tests.support.catalogue import catalogue
from tests.support.tree import ROOT

_WRITTEN = "Written by `python -m tests.support.reference` from {source}; do not edit."
_MS = {86_400_000: "d", 3_600_000: "h"}
_MACHINES = {
    "blob_store": "the user's data folder",
    "state_dir": "the user's data folder",
    "instance": "the host's name",
}
"""Defaults that depend on the machine."""


def pages() -> dict[str, str]:
    """Every generated page by its path."""
    return {
        "docs/asyncapi.yaml": dump(document(Topics(), ())),
        "docs/reference/topics.md": _topics(load_specs()),
        "docs/reference/records.md": _records(),
        "docs/reference/settings.md": _settings(),
        "docs/reference/metrics.md": _metrics(),
        **dashboards.pages(),
        **datadog.page(),
    }


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *([c.replace("|", "\\|") for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _span(spec: TopicSpec) -> str:
    if not spec.expires:
        return "newest of each key, for ever"
    unit = next(u for u in _MS if spec.retention_ms % u == 0)
    span = f"{spec.retention_ms // unit}{_MS[unit]}"
    return f"newest of each key, {span}" if spec.compacted else span


def _topics(specs: dict[str, TopicSpec]) -> str:
    rows, settings = [], []
    for name, s in specs.items():
        readers = [f"{c} (no group)" if c in s.groupless else c for c in s.consumers]
        record = f"[{s.record}](records.md#{s.record.lower()})"
        key = f"`{s.key}`"
        rows.append(
            [
                f"`{name}`",
                record,
                key,
                str(s.partitions),
                _span(s),
                ", ".join(s.producers),
                ", ".join(readers),
                s.purpose,
            ]
        )
        settings.append([f"`{name}`", ", ".join(f"`{k}={v}`" for k, v in sorted(topic_configs(s).items()))])
    return f"""# Topics

{_WRITTEN.format(source="`schemas/topics.yaml`")}

`HOCKET_PREFIX` stands before every name. Partitions: *joined* topics have one count, fixed when they are made; *tasks*
topics may grow; a number is exactly so many. Keys are UTF-8 text, the partition is murmur2 of the key.

{_table(["topic", "record", "key", "partitions", "kept", "written by", "read by", "purpose"], rows)}

## Settings

What `hocket topics apply` sets when it makes a topic, and reports where an existing one differs.

{_table(["topic", "settings"], settings)}
"""


def _type(node: Any) -> str:
    if isinstance(node, list):
        return " or ".join(_type(n) for n in node)
    if isinstance(node, str):
        return node.rpartition(".")[2]
    kind = node["type"]
    if kind == "array":
        return f"list of {_type(node['items'])}"
    if kind == "map":
        return f"map of {_type(node['values'])}"
    if kind == "enum":
        return f"{node['name']}: " + ", ".join(node["symbols"])
    if kind == "record":
        return str(node["name"])
    return f"{_type(kind)} ({node['logicalType']})" if "logicalType" in node else _type(kind)


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "required"
    return f"`{field['default']!r}`" if field["default"] is not None else "null"


def _records() -> str:
    parts = ["# Records", "", _WRITTEN.format(source="`schemas/*.avsc`"), ""]
    where: dict[str, list[str]] = {}
    for name, spec in load_specs().items():
        where.setdefault(spec.record, []).append(f"`{name}`")
    for record in sorted(record_types()):
        topics = ", ".join(where.get(record, []))
        for definition in named_types(schema(record)):
            if definition["type"] != "record":
                continue
            top = definition["name"] == record
            parts += [f"## {record}" if top else f"### {definition['name']} (in {record})", ""]
            parts += [_text(definition.get("doc", "")) + (f" On {topics}." if top and topics else ""), ""]
            rows = [
                [f"`{f['name']}`", _type(f["type"]), _default(f), _text(f.get("doc", ""))] for f in definition["fields"]
            ]
            parts += [_table(["field", "type", "default", "meaning"], rows), ""]
    return "\n".join(parts)


def _text(doc: str) -> str:
    return re.sub(r"\s+", " ", doc).replace("<", "&lt;").strip()


def _settings() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        shown = getattr(field.annotation, "__name__", "") if isinstance(field.annotation, type) else ""
        kind = shown or re.sub(r"(typing|pathlib|pydantic\.types)\.", "", str(field.annotation))
        default = _MACHINES.get(name) or _shown(field.get_default(call_default_factory=True))
        rows.append([f"`HOCKET_{name.upper()}`", kind, default, _text(field.description or "")])
    return f"""# Settings

{_WRITTEN.format(source="`libs/hocket/runtime/settings.py`")}

Every process reads them from its environment. A wrong value stops it, naming the variable.

{_table(["variable", "type", "default", "meaning"], rows)}
"""


def _metrics() -> str:
    rows = [[f"`{m.shown}`", m.kind, ", ".join(m.labels), m.of, _text(m.means)] for m in catalogue()]
    return f"""# Metrics

{_WRITTEN.format(source="`libs/hocket/runtime/metrics.py` and `services/monitor/metrics.py`")}

Every service serves them at `/metrics`, in Prometheus' format, or in OpenMetrics with trace ids as exemplars for who
accepts it. Histograms have `_bucket`, `_sum` and `_count`. Labels are few and closed: never a request or a tenant; a
worker's name only where the monitor tells of workers one by one. Beside these there are `process_*` and `python_*`.

Alert rules: `helm/hocket/files/alerts`, a page for each in [runbooks](../howto/runbooks).
Dashboards: `helm/hocket/files/dashboards`.

{_table(["metric", "kind", "labels", "of", "what it means, and what to do when it moves"], rows)}
"""


def _shown(value: Any) -> str:
    return "none" if value is None or value == "" else f"`{value!r}`"


def main() -> None:
    """Writes what is not current."""
    for path, body in pages().items():
        target = ROOT / path
        if not target.exists() or target.read_text("utf-8") != body:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(body, "utf-8")
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
