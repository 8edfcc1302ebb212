"""The run file: found while its stack lives, and only then."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hocket.local.runfile import RunFile, read_run, remove_run, run_path, write_run

RUN = RunFile(
    pid=os.getpid(), bootstrap="127.0.0.1:1", prefix="p-", partitions=4, blob_store="file:///b", data="/d",
    pids={"monitor": 7}, ports={"monitor": 8},
)  # fmt: skip


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    write_run(RUN, path)
    assert read_run(path) == RUN
    assert [p.name for p in path.parent.iterdir()] == ["run.json"]


def test_a_killed_stack_is_not_found(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_run(replace(RUN, pid=dead_pid()), path)
    assert read_run(path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"unknown": 1}'])
def test_what_is_no_run_file_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    assert read_run(path) is None


def test_only_its_own_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_run(replace(RUN, pid=os.getppid()), path)
    remove_run(path)
    assert path.exists()
    write_run(RUN, path)
    remove_run(path)
    assert not path.exists()
    remove_run(path)


def test_there_is_one_per_data_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOCKET_DATA", str(tmp_path))
    assert tmp_path in run_path().parents
