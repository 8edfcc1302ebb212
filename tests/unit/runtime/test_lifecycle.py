"""A service process from start to end, as a supervisor sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import asyncio
from hocket.runtime.lifecycle import run_service

async def serve(settings, stop, health):
    {body}

run_service("test", serve)
"""
WAITS = 'health.add("up", lambda: True); print("up", flush=True); await stop.wait(); print("drained", flush=True)'


def start(body: str, tmp_path: Path, **env: str) -> subprocess.Popen[str]:
    script = tmp_path / "service.py"
    script.write_text(SCRIPT.format(body=body))
    return subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "HOCKET_LOG_FORMAT": "json", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigterm_lets_it_drain_and_ends_with_0(tmp_path):
    with start(WAITS, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == ("drained\n", 0)


def test_what_still_waits_for_a_broker_is_cut_off(tmp_path):
    body = 'print("waiting", flush=True); await asyncio.sleep(60)'
    with start(body, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_second_signal_ends_it_at_once(tmp_path):
    body = WAITS.replace('"drained", flush=True)', '"slow", flush=True); await asyncio.sleep(60)')
    with start(body, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "slow\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM


def test_an_error_is_one_line_and_exit_code_1(tmp_path):
    with start('raise RuntimeError("mend the producer")', tmp_path) as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "test stops: RuntimeError: mend the producer" in err
    assert "Traceback" not in err


def test_a_wrong_setting_is_named_with_exit_code_2(tmp_path):
    with start(WAITS, tmp_path, HOCKET_CONCURRENCY="0") as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert err.startswith("HOCKET_CONCURRENCY: ")


def test_the_cycle_collector_runs_rarely(tmp_path):
    """Walking thousands of waiting tasks again and again cost a fifth of a busy worker's time."""
    with start("import gc; print(gc.get_threshold()[0], gc.get_freeze_count() > 0)", tmp_path) as process:
        out, _ = process.communicate(timeout=20)
    assert out == "20000 True\n"
