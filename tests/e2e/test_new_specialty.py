"""A scaffolded specialty runs end to end: one folder with its output record, one chart key, no other file touched."""

from __future__ import annotations

import itertools
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

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "hocket" / "values.yaml"
HOWTO = ROOT / "docs" / "howto" / "new-specialty.md"
HOCKET = str(Path(sys.executable).with_name("hocket"))
PLAN = {"tasks": [{"id": "hear", "specialty": "tone", "instruction": "How does it sound?", "depends_on": []}]}
FEW = 25


def scaffold(folder: Path) -> Path:
    """`hocket new specialty tone`, as a user calls it; returns the changed copy of the chart's values."""
    chart = folder / "values.yaml"
    shutil.copy(CHART, chart)
    command = [HOCKET, "new", "specialty", "tone", "--into", str(folder / "own"), "--chart", str(chart)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return chart


def transcript() -> list[str]:
    """The how-to's way from nothing to an answer."""
    return HOWTO.read_text("utf-8").partition("## From nothing to an answer")[2].split("```")[1].splitlines()


def edit(folder: Path) -> int:
    """What the how-to changes in the scaffold, line by line; returns how many lines that are."""
    hunks: list[tuple[list[str], list[str]]] = []
    before = ""
    for line in itertools.takewhile(lambda line: "specialties check" not in line, transcript()):
        sign = line[2:3] if line.startswith("  ") else ""
        if sign in ("-", "+"):
            if sign == "-" != before:
                hunks.append(([], []))
            hunks[-1][sign == "+"].append(line[3:])
        before = sign
    for old, new in hunks:
        [file] = [f for f in folder.iterdir() if f.is_file() and "\n".join(old) in f.read_text("utf-8")]
        file.write_text(file.read_text("utf-8").replace("\n".join(old), "\n".join(new)), "utf-8")
    return sum(len(old) + len(new) for old, new in hunks)


def workflow() -> int:
    """How many lines the how-to's workflow has."""
    lines = transcript()
    first = next(n for n, line in enumerate(lines) if line.startswith("$ cat >"))
    return next(n for n, line in enumerate(lines[first + 1 :]) if line.startswith("$"))


async def test_a_scaffolded_specialty_answers_after_a_few_changed_lines_in_its_own_folder(
    broker: object, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    chart = scaffold(tmp_path)
    before, after = (yaml.safe_load(p.read_text())["workers"] for p in (CHART, chart))
    assert set(after) - set(before) == {"tone"}
    assert {p.parent.name for p in (tmp_path / "own").rglob("*") if p.is_file()} == {"tone"}

    assert 0 < edit(tmp_path / "own" / "tone") + workflow() < FEW
    checked = subprocess.run(
        [HOCKET, "specialties", "check", str(tmp_path / "own")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "  tone needs nothing (local engine)" in checked.stdout

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
            Service("services.workers", own, tmp_path / "workers.log", "--specialty", "tone", **env),
        ]
        with running(*services):
            async with producing(own) as producer:
                await send(producer, topics.requests, request(1, text="Send it now, I am still waiting"))
                [answer] = await read(own, topics.answers, Answer, until=bool, timeout=60)
    assert "tone" in offered[0], "the planner's choices derive from the folders"
    assert (answer.status, answer.content) == ("completed", "Impatient: now, still."), answer.error
    [task] = answer.receipt.tasks
    assert (task.specialty, task.engine) == ("tone", "local")
    assert task.prompt_version == load_specialties(own.specialties)["tone"].version
