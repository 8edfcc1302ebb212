"""The five how-tos with their input files: every command is run as a user runs it, and says what its page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, running
from tests.support.simulated import Reply, SimulatedProvider, prompt_of, tool_of
from tests.support.tree import ROOT

HOWTO = ROOT / "docs" / "howto"
PAGES = {
    "invoice": "invoice-intake",
    "complaint": "complaint-triage",
    "contract-brief": "contract-brief",
    "sales-figures": "sales-analysis",
    "open-research": "document-research",
}
"""Page to the workflow that its first request is recognised as."""
OFFERS = sorted((ROOT / "examples" / "offers").iterdir())


def blocks(page: str) -> list[tuple[str, list[str]]]:
    """Each command of a page, and the lines that it shows below it."""
    fenced = re.findall(r"\n```\n(\$ .*?)\n```", (HOWTO / f"{page}.md").read_text("utf-8"), re.DOTALL)
    return [
        (command.replace("\\\n", " "), shown.splitlines())
        for block in fenced
        for command, shown in re.findall(r"^\$ ((?:.*\\\n)*.*)\n?((?:(?!\$ ).*\n?)*)", block, re.MULTILINE)
    ]


def in_order(shown: list[str], said: str) -> list[str]:
    """The lines that are not said, or not in this order; `...` stands for any."""
    lines = iter([line.rstrip() for line in said.splitlines()])
    return [line for line in shown if line.strip() not in ("", "...") and line.rstrip() not in lines]


def run(command: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env={**os.environ, "PATH": path, **env},
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder like the checkout's root, in which a user may write."""
    desk = tmp_path / "desk"
    desk.mkdir()
    for name in ("examples", "workflows"):
        (desk / name).symlink_to(ROOT / name)
    return desk


def services(settings: Settings, tmp_path: Path, **more: str) -> Iterator[Service]:
    for name, arguments in (("aggregator", ()), ("planner", ()), ("workers", ("--all",))):
        yield Service(f"services.{name}", settings, tmp_path / f"{name}.log", *arguments, **more)


def where(settings: Settings) -> dict[str, str]:
    return {
        "HOCKET_BOOTSTRAP": settings.bootstrap,
        "HOCKET_PREFIX": settings.prefix,
        "HOCKET_BLOB_STORE": settings.blob_store,
    }


def test_every_page_begins_with_a_request_and_its_input_file_and_shows_the_answer() -> None:
    for page in PAGES:
        command, shown = next((c, s) for c, s in blocks(page) if c.startswith("hocket ask"))
        assert "examples/" in command
        assert len([line for line in shown if line.strip()]) >= 4
        assert f"({page}.md)" in (HOWTO / "five-requests.md").read_text("utf-8")


def steps() -> tuple[list[tuple[str, str, list[str]]], list[tuple[str, str, list[str]]]]:
    """Page, command and what it shows: all that is done with the shipped workflows, then all with those of the user."""
    before, after = [], []
    for page in PAGES:
        chosen = before
        for command, shown in blocks(page):
            if command == "hocket dev --workflows flows":
                chosen = after
            else:
                chosen.append((page, command, shown))
    return before, after


def test_every_command_of_the_five_pages_says_what_stands_there(
    topics_ready: Topics, settings: Settings, desk: Path, tmp_path: Path
) -> None:
    before, after = steps()
    asked: set[str] = set()

    def follow(page: str, command: str, shown: list[str]) -> None:
        done = run(command, desk, **where(settings))
        said = f"{page}: {command}\n{done.stdout}{done.stderr}"
        assert in_order(shown, done.stdout) == [], said
        if command.startswith("hocket ask") and page not in asked:
            assert f"plan by local ({PAGES[page]})" in done.stdout, said
            asked.add(page)

    *readers, workers = services(settings, tmp_path)
    with running(workers):
        with running(*readers):
            for step in before:
                follow(*step)
            exported_without_personal_data(desk, where(settings))
        *readers, _ = services(settings, tmp_path, HOCKET_WORKFLOWS=str(desk / "flows"))
        with running(*readers):
            for step in after:
                follow(*step)
    assert asked == set(PAGES)
    assert after
    chart = ET.parse(desk / "sales" / "figures-chart.svg").getroot()
    assert chart.tag == "{http://www.w3.org/2000/svg}svg"
    assert json.loads((desk / "contract" / "extract.json").read_text("utf-8"))["number"] == "SA-2026-031"


def exported_without_personal_data(desk: Path, env: dict[str, str]) -> None:
    """The complaint's summary as training data in both forms, as docs/howto/fine-tuning-data.md says."""
    for form in ("openai", "anthropic"):
        export = f"hocket export --specialty summarisation --out {form}.jsonl --format {form} --accepted-by local"
        done = run(export, desk, **env)
        assert done.returncode == 0, done
        lines = [json.loads(line) for line in (desk / f"{form}.jsonl").read_text("utf-8").splitlines()]
        assert len(lines) == 2, "the complaint's summary and the contract's"
        mail = next(text for line in lines if "[EMAIL_1]" in (text := json.dumps(line, ensure_ascii=False)))
        assert "[NAME_1]" in mail and "[PHONE_1]" in mail
        assert not re.search(r"Margaret|Doyle|\w@\w|496 0182", mail)
        assert {line["messages"][-1]["role"] for line in lines} == {"assistant"}


PLAN = {
    "tasks": [
        *(
            {"id": path.stem, "specialty": "research", "instruction": f"What does {path.name} say?", "depends_on": []}
            for path in OFFERS
        ),
        {
            "id": "advice",
            "specialty": "writing",
            "instruction": "Recommend one.",
            "depends_on": [path.stem for path in OFFERS],
        },
    ],
    "output_task": "advice",
}


def replies(asked: dict[str, Any]) -> Reply:
    """A model that plans, quotes each offer's line on its warranty, and recommends."""
    if tool_of(asked) == "decompose_task":
        return Reply(data=PLAN)
    prompt = prompt_of(asked)
    path = next((path for path in OFFERS if f"What does {path.name} say?" in prompt), None)
    if path is None:
        return Reply(data={"text": "Take Cedar: 36 months."})
    quote = next(line for line in path.read_text("utf-8").splitlines() if "arranty" in line and "month" in line)
    return Reply(data={"text": quote, "passages": [{"quote": quote, "document": path.name}]})


async def test_with_a_key_the_open_question_of_the_page_is_split_and_the_quotes_are_checked(
    topics_ready: Topics, settings: Settings, desk: Path, tmp_path: Path
) -> None:
    command = next(c for c, _ in blocks("open-research") if "recommend" in c)
    provider = SimulatedProvider(replies).start_in_thread()
    try:
        with running(*services(settings, tmp_path, **provider.env("anthropic"))):
            done = run(f"{command} -o json", desk, **where(settings))
    finally:
        provider.stop_thread()
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["content"]) == ("completed", "Take Cedar: 36 months."), done
    assert (answer["receipt"]["source"], answer["receipt"]["calls"]) == ("llm", 5)
    outputs = {entry["task_id"]: entry["output"]["data"] for entry in answer["outputs"]}
    for path in OFFERS:
        [passage] = outputs[path.stem]["passages"]
        assert passage["document"] == path.name
        assert passage["quote"] in path.read_text("utf-8")
