"""A newer version's worker beside this version's aggregator: what a rolling upgrade is between its steps.

The newer one is this one with schemas that have a field more, which is all that a version may do to a record.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from typer.testing import CliRunner

from hocket.cli.app import app
from hocket.cli.ask import Wish, ask, build_request
from hocket.contracts.records import DeadLetter
from hocket.contracts.topics import Topics
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, read, running
from tests.support.plans import BRIEF
from tests.support.tree import ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]
WRITTEN = ("result", "progress", "heartbeat")
"""What a worker writes, and does not read itself."""
ADDED = {"name": "mood", "type": ["null", "string"], "doc": "What a later version may add.", "default": None}


def newer(folder: Path) -> dict[str, str]:
    """The environment in which a process is of the newer version."""
    shutil.copytree(ROOT / "schemas", folder / "newer" / "schemas")
    for name in WRITTEN:
        file = folder / "newer" / "schemas" / f"{name}.avsc"
        schema = json.loads(file.read_text())
        schema["fields"].append(ADDED)
        file.write_text(json.dumps(schema))
    return {"PYTHONPATH": str(folder / "newer"), "PYTHONSAFEPATH": "1"}  # before this tree, and this folder not at all


def register(registry: str, topics: Topics, folder: Path) -> None:
    """What the upgrade's second step does: this version's schemas are there, and the newer one's come."""
    done = CliRunner().invoke(app, ["--prefix", topics.prefix, "schemas", "register", "--registry", registry])
    assert done.exit_code == 0, done.output
    with SchemaRegistryClient({"url": registry}) as client:
        for name, topic in zip(WRITTEN, (topics.results, topics.progress, topics.heartbeats), strict=True):
            schema = (folder / "newer" / "schemas" / f"{name}.avsc").read_text()
            client.register_schema(f"{topic}-value", Schema(schema, "AVRO"))


def both(settings: Settings, folder: Path, **env: str) -> list[Service]:
    (folder / "workflows").mkdir()
    (folder / "workflows" / "brief.yaml").write_text(BRIEF)
    own = {"HOCKET_WORKFLOWS": str(folder / "workflows"), "HOCKET_INSTANCE": "a0"}
    return [
        Service("services.aggregator", settings, folder / "aggregator.log", **own, **env),
        Service(
            "services.workers", settings, folder / "worker.log", "--specialty", "summarisation", **newer(folder), **env
        ),
    ]


async def test_with_a_registry_an_older_service_reads_what_a_newer_one_writes(
    registry: str, topics_ready: Topics, settings: Settings, tmp_path: Path
) -> None:
    here = settings.model_copy(update={"registry_url": registry})
    services = both(settings, tmp_path, HOCKET_REGISTRY_URL=registry)
    register(registry, topics_ready, tmp_path)
    with running(*services):
        request = build_request(
            Wish(text="Two of ten lamps broke.", workflow="brief"), here, request_id="r", now_ms=now_ms()
        )
        answer = await ask(here, request, seconds=60)
    logs = "\n".join(s.tail() for s in services)
    assert answer is not None, logs
    assert answer.status == "completed", logs
    assert "is not one of Hocket's" not in logs


async def test_without_a_registry_it_is_a_dead_letter_that_says_so(
    topics_ready: Topics, settings: Settings, tmp_path: Path
) -> None:
    services = both(settings, tmp_path)
    with running(*services):
        request = build_request(
            Wish(text="Two lamps broke.", workflow="brief"), settings, request_id="r", now_ms=now_ms()
        )
        asking = asyncio.create_task(ask(settings, request, seconds=60))
        try:
            found = await read(settings, topics_ready.dead_letters, DeadLetter, until=bool, timeout=60)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    assert found, "\n".join(s.tail() for s in services)
    assert "is not one of Hocket's" in found[0].reason
