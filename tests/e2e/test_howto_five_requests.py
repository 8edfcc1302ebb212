"""docs/howto/five-requests.md: its commands are taken from the page, run as a user runs them, and say what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, running
from tests.support.tree import ROOT

PAGE = (ROOT / "docs" / "howto" / "five-requests.md").read_text("utf-8")
COMMANDS = dict(re.findall(r"\n## ([^\n]+)\n+```\n(.*?)\n```", PAGE, re.DOTALL))
SAYS = {
    "An invoice": ("Decision: needs approval", "invoice-intake"),
    "A complaint": ("Decision: escalate", "complaint-triage"),
    "A contract brief": ("Parties: Northgate Instruments Ltd; Alder & Finch GmbH", "contract-brief"),
    "Sales figures": ("Verdict: check the outliers", "sales-analysis"),
    "An open research request": ("Delivery time: five weeks from receipt of payment.", "document-research"),
}


def test_the_page_names_what_it_promises() -> None:
    assert list(COMMANDS) == list(SAYS)
    assert [said for said, _ in SAYS.values() if f"`{said}`" not in PAGE] == []


def test_every_request_is_answered_without_a_key(topics_ready: Topics, settings: Settings, tmp_path: Path) -> None:
    services = [
        Service("services.aggregator", settings, tmp_path / "aggregator.log"),
        Service("services.planner", settings, tmp_path / "planner.log"),
        Service("services.workers", settings, tmp_path / "workers.log", "--all"),
    ]
    env = {
        **os.environ, "HOCKET_BOOTSTRAP": settings.bootstrap, "HOCKET_PREFIX": settings.prefix,
        "HOCKET_BLOB_STORE": settings.blob_store,
    }  # fmt: skip
    with running(*services):
        for name, (said, workflow) in SAYS.items():
            command = [str(Path(sys.executable).with_name("hocket")), *shlex.split(COMMANDS[name])[1:]]
            done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=90, check=False)
            assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
            assert said in done.stdout, f"{name}: {done.stdout}"
            assert f"plan by local ({workflow})" in done.stdout + done.stderr
