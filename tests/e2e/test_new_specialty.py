"""A scaffolded specialty runs end to end: one folder with its output record, one chart key, no other file touched."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hocket.contracts.records import Answer
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics
from hocket.kafka.admin import apply_topics
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, producing, read, request, running, send
from tests.support.simulated import Reply, SimulatedProvider

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

CHART = Path(__file__).parents[2] / "helm" / "hocket" / "values.yaml"
PLAN = {"tasks": [{"id": "count", "specialty": "legal", "instruction": "Count.", "depends_on": []}]}


def scaffold(folder: Path) -> Path:
    """`hocket new specialty legal`, as a user calls it; returns the changed copy of the chart's values."""
    chart = folder / "values.yaml"
    shutil.copy(CHART, chart)
    command = [
        str(Path(sys.executable).with_name("hocket")),
        "new",
        "specialty",
        "legal",
        "--into",
        str(folder / "own"),
    ]
    done = subprocess.run([*command, "--chart", str(chart)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return chart


async def test_a_scaffolded_specialty_answers_without_touching_another_file(
    broker: object, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    chart = scaffold(tmp_path)
    before, after = (yaml.safe_load(p.read_text())["workers"] for p in (CHART, chart))
    assert set(after) - set(before) == {"legal"}
    assert {p.parent.name for p in (tmp_path / "own").rglob("*") if p.is_file()} == {"legal"}

    own = settings.model_copy(update={"specialties": tmp_path / "own"})
    topics = Topics(own.prefix)
    await apply_topics(own, load_specialties(own.specialties))
    offered: list[Any] = []

    def script(asked: dict[str, Any]) -> Reply:
        offered.append(str(asked["tools"]))
        return Reply(data=PLAN)

    async with SimulatedProvider(script) as provider:
        env = {"HOCKET_SPECIALTIES": str(own.specialties), **provider.env("anthropic")}
        services = [
            Service("services.aggregator", own, tmp_path / "aggregator.log", HOCKET_INSTANCE="a", **env),
            Service("services.planner", own, tmp_path / "planner.log", **env),
            Service("services.workers", own, tmp_path / "workers.log", "--specialty", "legal", **env),
        ]
        with running(*services):
            async with producing(own) as producer:
                await send(producer, topics.requests, request(1, text="three small words"))
                [answer] = await read(own, topics.answers, Answer, until=bool, timeout=60)
    assert "legal" in offered[0], "the planner's choices derive from the folders"
    assert (answer.status, answer.content) == ("completed", "3 words and 0 documents."), answer.error
    assert [(t.specialty, t.engine) for t in answer.receipt.tasks] == [("legal", "local")]
