"""A new specialty must load, run and pass its own test, untouched."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from hocket.cli.app import app
from hocket.cli.base import CliError
from hocket.cli.scaffold import files_of, new_specialty, target_of, with_worker
from hocket.contracts.specialties import load_specialties

VALUES = """\
# the chart
workers:
  # the first one
  research:
    replicas: 1

  code: {}
# after
kafka:
  bootstrapServers: ""
"""


def test_a_new_specialty_passes_its_own_test_and_loads(tmp_path: Path) -> None:
    new_specialty("contract-review", into=tmp_path, builtin=False, chart=None)
    found = load_specialties(tmp_path)["contract-review"]
    assert found.has_local
    assert not found.builtin
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "4 passed" in run.stdout


def test_a_builtin_goes_to_the_places_of_a_checkout(tmp_path: Path) -> None:
    for folder in ("services/workers", "schemas/outputs", "tests/unit/workers"):
        (tmp_path / folder).mkdir(parents=True)
    written = new_specialty("triage", into=tmp_path, builtin=True, chart=None)
    assert {p.relative_to(tmp_path).as_posix() for p in written} == {
        "services/workers/triage/__init__.py",
        "services/workers/triage/specialty.toml",
        "services/workers/triage/prompt.md",
        "services/workers/triage/local.py",
        "schemas/outputs/triage.avsc",
        "tests/unit/workers/test_triage.py",
    }


def test_builtin_outside_a_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="checkout"):
        target_of("triage", into=tmp_path, builtin=True)


@pytest.mark.parametrize("name", ["Triage", "x", "9lives", "a_b", "planning", "a" * 41])
def test_names_that_would_not_work_are_refused(name: str) -> None:
    with pytest.raises(CliError, match="cannot be a specialty"):
        target_of(name, into=None, builtin=False)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (first, *_) = new_specialty("triage", into=tmp_path, builtin=False, chart=None)
    first.write_text("mine")
    with pytest.raises(CliError, match="already there"):
        new_specialty("triage", into=tmp_path, builtin=False, chart=None)
    assert first.read_text() == "mine"


def test_the_chart_gets_one_key_and_keeps_its_comments() -> None:
    changed = with_worker(VALUES, "triage")
    assert yaml.safe_load(changed)["workers"] == {"research": {"replicas": 1}, "code": {}, "triage": {}}
    assert [x for x in changed.splitlines() if x not in VALUES.splitlines()] == ["  triage: {}"]


def test_an_empty_workers_block_gets_its_first_key() -> None:
    assert yaml.safe_load(with_worker("workers: {}\nkafka: 1\n", "triage")) == {"workers": {"triage": {}}, "kafka": 1}


@pytest.mark.parametrize(("values", "word"), [("kafka: 1\n", "no `workers:`"), (VALUES, "already")])
def test_a_chart_that_does_not_fit_is_refused_and_nothing_is_written(tmp_path: Path, values: str, word: str) -> None:
    chart = tmp_path / "values.yaml"
    chart.write_text(values)
    with pytest.raises(CliError, match=word):
        new_specialty("research", into=tmp_path / "own", builtin=False, chart=chart)
    assert not (tmp_path / "own").exists()
    assert chart.read_text() == values


def test_the_command_prints_what_it_wrote(tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    chart.mkdir()
    (chart / "values.yaml").write_text(VALUES)
    outcome = CliRunner().invoke(
        app, ["new", "specialty", "triage", "--into", str(tmp_path / "own"), "--chart", str(chart)]
    )
    assert outcome.exit_code == 0
    assert [Path(x).name for x in outcome.stdout.split()] == [
        "specialty.toml", "prompt.md", "local.py", "output.avsc", "test_triage.py", "values.yaml",
    ]  # fmt: skip


def test_every_generated_python_file_compiles() -> None:
    target = target_of("contract-review", into=None, builtin=False)
    sources = {p: text for p, text in files_of("contract-review", target).items() if p.suffix == ".py"}
    assert len(sources) == 2
    for path, text in sources.items():
        assert compile(text, str(path), "exec")
