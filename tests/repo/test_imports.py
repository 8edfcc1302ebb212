"""The import contracts hold what they promise: planted violations are found, each by its own contract."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tree import ROOT

PLANTED = {
    "libs/hocket/core/plan.py": "import time",
    "libs/hocket/core/retry.py": "def f():\n    from hocket.kafka import client",
    "services/aggregator/join.py": "import asyncio",
    "services/planner/service.py": "from services.workers import engine",
    "libs/hocket/contracts/topics.py": "from services.monitor import lag",
    "services/workers/service.py": "import aiokafka",
    "services/monitor/lag.py": "def f():\n    import openai",
    "libs/hocket/cli/ask.py": "def f():\n    import anthropic, jgo",
    "libs/hocket/llm/base.py": "import faust",
    "libs/hocket/runtime/tracing.py": "import opentelemetry",
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What lint-imports says of a copy of the tree with all violations planted."""
    copy = tmp_path_factory.mktemp("planted")
    skipped = shutil.ignore_patterns("__pycache__")
    for folder in ("libs", "services"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=skipped)
    shutil.copy(ROOT / ".importlinter", copy)
    for path, line in PLANTED.items():
        with (copy / path).open("a", encoding="utf-8") as f:
            f.write(f"\n\n{line}\n")
    paths = os.pathsep.join([str(copy / "libs"), str(copy)])
    command = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [command, "--no-cache"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "chain",
    [
        "hocket.core.plan -> time",
        "hocket.core.retry -> hocket.kafka.client",
        "services.aggregator.join -> asyncio",
        "services.planner.service -> services.workers.engine",
        "hocket.contracts.topics -> services.monitor.lag",
        "services.workers.service -> aiokafka",
        "services.monitor.lag -> openai",
        "hocket.cli.ask -> anthropic",
        "hocket.cli.ask -> jgo",
        "hocket.llm.base -> faust",
    ],
)
def test_a_planted_violation_is_found(report: str, chain: str) -> None:
    assert chain in report


def test_every_contract_is_broken_by_one_of_them(report: str) -> None:
    assert "0 kept, 9 broken" in report


def test_what_only_benches_and_tests_import_is_still_there() -> None:
    """mypy does not look there, and a bench is not run by the tests."""
    code = (
        "import importlib, pkgutil, bench, tests.support\n"
        "for package in (bench, tests.support):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not module.name.endswith('__main__'):\n"
        "            importlib.import_module(module.name)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
