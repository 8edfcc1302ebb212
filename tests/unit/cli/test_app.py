"""The command line: what it imports, how it refuses, what stands on stdout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hocket import __version__
from hocket.cli.app import app
from hocket.local.runfile import RunFile, write_run

HEAVY = ("aiokafka", "anthropic", "openai", "quixstreams", "faust", "rich", "pydantic", "fastavro", "fsspec")
NOWHERE = ["--bootstrap", "127.0.0.1:1"]


@pytest.fixture(autouse=True)
def _own_data_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOCKET_DATA", str(tmp_path / "home"))


@pytest.fixture
def cli() -> CliRunner:
    return CliRunner()


def test_the_command_line_imports_nothing_heavy() -> None:
    code = "import sys, hocket.cli.app; print('\\n'.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "hocket.cli.app" in found
    assert [name for name in HEAVY if name in found] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask"],
        ["ask", "x", "-a", "/no/such/file"],
        ["ask", "x", "--strategy", "quickest"],
        ["ask", "x", "--priority", "11"],
        ["ask", "x", "--constant", "novalue"],
        ["ask", "x", "--id", ""],
        ["ask", "x", "-o", "yaml"],
        ["submit"],
        ["result"],
        ["tail", "answers", "--from", "middle"],
        ["new", "specialty", "Bad Name"],
        ["no-such-command"],
    ],
)
def test_wrong_usage_ends_with_2_and_a_word(cli: CliRunner, arguments: list[str]) -> None:
    outcome = cli.invoke(app, [*NOWHERE, *arguments])
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    assert outcome.stderr


def test_a_missing_file_is_named(cli: CliRunner) -> None:
    outcome = cli.invoke(app, ["ask", "x", "-a", "/no/such/file"])
    assert "/no/such/file" in outcome.stderr
    assert "No such file" in outcome.stderr


def test_a_folder_is_no_attachment(cli: CliRunner, tmp_path: Path) -> None:
    assert cli.invoke(app, ["ask", "x", "-a", str(tmp_path)]).exit_code == 2


@pytest.mark.parametrize(
    "command",
    [
        ["ask", "x"],
        ["submit", "x"],
        ["result", "id"],
        ["cancel", "id"],
        ["follow", "id"],
        ["approve", "id", "t"],
        ["reject", "id", "t"],
    ],
)
def test_no_kafka_is_exit_code_4_with_the_address_and_what_to_do(
    cli: CliRunner, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hocket.cli.exchange.CONNECT_SECONDS", 0.0)
    outcome = cli.invoke(app, [*NOWHERE, *command])
    assert outcome.exit_code == 4
    for word in ("127.0.0.1:1", "hocket dev", "--bootstrap"):
        assert word in outcome.stderr
    assert outcome.stdout == ""


def test_a_failure_is_one_json_document_too(cli: CliRunner) -> None:
    outcome = cli.invoke(app, [*NOWHERE, "topics", "list", "--wait", "0", "-o", "json"])
    assert outcome.exit_code == 4
    assert json.loads(outcome.stdout)["error"]["kind"] == "kafka_unreachable"


def test_wrong_settings_name_the_field(cli: CliRunner) -> None:
    outcome = cli.invoke(app, ["--prefix", "a.b", "topics", "list"])
    assert outcome.exit_code == 2
    assert "prefix" in outcome.stderr
    assert "no dots" in outcome.stderr


def test_a_running_dev_stack_is_found_by_its_run_file(cli: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.delenv("HOCKET_BOOTSTRAP", raising=False)
    run = RunFile(
        pid=os.getpid(), bootstrap="127.0.0.1:2", prefix="d-", partitions=4, blob_store="file:///b", data="/d"
    )
    write_run(run)
    found = cli.invoke(app, ["topics", "list", "--wait", "0"])
    assert "127.0.0.1:2" in found.stderr
    overruled = cli.invoke(app, [*NOWHERE, "topics", "list", "--wait", "0"])
    assert "127.0.0.1:1." in overruled.stderr
    monkeypatch.setenv("HOCKET_BOOTSTRAP", "127.0.0.1:3")
    by_environment = cli.invoke(app, ["topics", "list", "--wait", "0"])
    assert "127.0.0.1:3" in by_environment.stderr


def test_version(cli: CliRunner) -> None:
    assert cli.invoke(app, ["version"]).stdout.strip() == __version__


@pytest.mark.parametrize("group", ["specialties", "workflows"])
def test_catalogues_are_pure_json(cli: CliRunner, group: str) -> None:
    listed = cli.invoke(app, [group, "-o", "json"])
    assert listed.exit_code == 0
    assert {entry["name"] for entry in json.loads(listed.stdout)[group]}
    checked = cli.invoke(app, [group, "check", "-o", "json"])
    assert checked.exit_code == 0
    assert json.loads(checked.stdout)["ok"] is True


def test_a_wrong_workflow_file_is_told_and_ends_with_1(cli: CliRunner, tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("name: w\ndescription: d\ntasks: [{id: a, specialty: none, instruction: i}]\noutput: a\n")
    outcome = cli.invoke(app, ["workflows", "check", str(path)])
    assert outcome.exit_code == 1
    assert "unknown specialty 'none'" in outcome.stderr


def test_a_workflow_says_what_it_needs(cli: CliRunner, tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("name: w\ndescription: d\ntasks: [{id: a, specialty: sentiment, instruction: i}]\noutput: a\n")
    outcome = cli.invoke(app, ["workflows", "check", str(path)])
    assert outcome.exit_code == 0
    assert "w needs nothing (local engines)" in outcome.stdout
