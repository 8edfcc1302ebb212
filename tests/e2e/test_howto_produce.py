"""docs/howto/produce.md does what it says: its programs are taken from the page and run, with no Hocket in reach."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings
from tests.support.kafka import Service, running
from tests.support.tree import ROOT

PAGE = (ROOT / "docs" / "howto" / "produce.md").read_text("utf-8")
PROGRAMS = dict(re.findall(r"\n## ([^\n]+)\n[^#]*?```python\n(.*?)```", PAGE, re.DOTALL))


def test_the_page_has_both_programs() -> None:
    assert list(PROGRAMS) == ["aiokafka and fastavro", "confluent-kafka and fastavro"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_they_import_nothing_of_hocket(program: str) -> None:
    found = [n for n in ast.walk(ast.parse(PROGRAMS[program])) if isinstance(n, (ast.Import, ast.ImportFrom))]
    names = {a.name for n in found if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in found if isinstance(n, ast.ImportFrom)}
    assert not {n.split(".")[0] for n in names} & {"hocket", "services"}


@pytest.fixture
def installation(topics_ready: Topics, settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """The aggregator and all workers, as deployed."""
    aggregator = Service("services.aggregator", settings, tmp_path / "aggregator.log")
    workers = Service("services.workers", settings, tmp_path / "workers.log", "--all")
    with running(aggregator, workers):
        yield settings


def test_they_get_their_answers(installation: Settings, tmp_path: Path) -> None:
    for name, program in PROGRAMS.items():
        script = tmp_path / "program.py"
        script.write_text(program, "utf-8")
        done = subprocess.run(
            [sys.executable, script],
            cwd=ROOT,
            env={**os.environ, "BOOTSTRAP": installation.bootstrap, "PREFIX": installation.prefix},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        lines = done.stdout.splitlines()
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert lines[0] == "completed", f"{name}: {done.stdout}"
        assert any(" completed local " in line for line in lines), done.stdout
