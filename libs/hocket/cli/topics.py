"""`hocket topics apply|list`."""

from __future__ import annotations

from dataclasses import asdict

from hocket.cli.base import COMPLETE, PARTIAL, Output, console, print_json
from hocket.contracts.specialties import load_specialties
from hocket.kafka.admin import Change, apply_topics, list_topics
from hocket.kafka.client import topics_of
from hocket.runtime.settings import Settings


async def apply(
    settings: Settings, *, task_partitions: int | None, alter_configs: bool, wait_seconds: float, output: Output
) -> int:
    """Makes the topics and tells what changed; exit code 3 when something stays that only its owner may change."""
    specialties = load_specialties(settings.specialties)
    changes = await apply_topics(
        settings, specialties, task_partitions=task_partitions, alter_configs=alter_configs, wait_seconds=wait_seconds
    )
    if output is Output.json:
        print_json(
            {"bootstrap": settings.bootstrap, "prefix": settings.prefix, "changes": [asdict(c) for c in changes]}
        )
    else:
        for change in changes:
            print(_sentence(change))
        total = len(topics_of(settings).all(specialties))
        print(f"{total} topics stand at {settings.bootstrap}; changed: {sum(c.action != 'differs' for c in changes)}")
    return PARTIAL if any(c.action == "differs" for c in changes) else COMPLETE


def _sentence(change: Change) -> str:
    more = f" ({change.detail})" if change.detail else ""
    if change.action in ("differs", "set"):
        return f"{change.topic}: {change.detail}"
    return f"{change.topic}: {change.action}, {change.partitions} partitions{more}"


def show_asyncapi(settings: Settings) -> int:
    """Prints the installation as an AsyncAPI document."""
    from hocket.contracts.asyncapi import document, dump

    print(dump(document(topics_of(settings), load_specialties(settings.specialties))), end="")
    return COMPLETE


async def show(settings: Settings, *, wait_seconds: float, output: Output) -> int:
    """Lists the installation's topics as they stand."""
    topics = topics_of(settings)
    found = await list_topics(settings, wait_seconds=wait_seconds)
    rows = []
    for state in found:
        spec = topics.spec(state.name)
        row = {"name": state.name, "partitions": state.partitions, "replication": state.replication}
        rows.append(row | {"record": spec.record if spec else "", "purpose": spec.purpose if spec else ""})
    if output is Output.json:
        print_json({"bootstrap": settings.bootstrap, "prefix": settings.prefix, "topics": rows})
        return COMPLETE
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("topic", "partitions", "replication", "record", "purpose"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(str(v) for v in row.values()))
    console().print(table if rows else f"no topics with prefix {settings.prefix!r}: run `hocket topics apply`")
    return COMPLETE
