"""`hocket specialties check DIR`: a user's folder loads and its engine runs on its sample, or the fault is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hocket.cli.app import app
from hocket.cli.catalogue import TRIAL_SECONDS
from hocket.cli.scaffold import new_specialty

WORDS = ',\n      "doc": "How many words it was given.",\n      "default": 0'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    new_specialty("legal", into=tmp_path, builtin=False, chart=None)
    return tmp_path


def check(own: Path) -> tuple[int, list[str], set[str]]:
    outcome = CliRunner().invoke(app, ["specialties", "check", str(own), "-o", "json"])
    said = json.loads(outcome.stdout)
    return outcome.exit_code, said["faults"], {row["name"] for row in said["specialties"]}


def changed(path: Path, old: str, new: str) -> None:
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))


def test_a_scaffolded_specialty_is_sound(own: Path) -> None:
    code, faults, names = check(own)
    assert (code, faults) == (0, [])
    assert {"legal", "research", "synthesis"} <= names


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("specialty.toml", "purpose", "aim", "aim: Extra inputs are not permitted"),
        ("specialty.toml", '"middle", "frontier"', '"largest"', "the ladder names largest; there are: frontier, local"),
        ("output.avsc", '"type": "long"' + WORDS, '"type": "bytes"', "a model cannot answer with bytes"),
        ("local.py", '"words": words', '"wrods": words', "there is no field 'wrods'"),
        ("local.py", "    words = len", "    1 / 0\n    words = len", "local.py:14: fails on its sample: Zero"),
        ("local.py", "    words = len", '    raise NeedsModel("x", instead={})\n    words = len', "does not fit"),
        ("local.py", "def run(", "def walk(", "there is no `def run(work: Work) -> dict`"),
        ("local.py", "from typing import Any", "import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("local.py", "def run(work", "def run((work", "local.py:8: "),
        ("local.py", "    words = len", "    raise SystemExit\n    words = len", "ended the process instead"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_file(own: Path, file: str, old: str, new: str, said: str) -> None:
    changed(own / "legal" / file, old, new)
    code, faults, _ = check(own)
    assert code == 1
    assert len(faults) == 1
    assert said in faults[0]
    assert "legal" in faults[0]


def test_what_a_partly_local_engine_leaves_to_a_model_is_told(own: Path) -> None:
    changed(own / "legal" / "specialty.toml", "max_output", 'local = "part"\nneeds_model = "Judging."\nmax_output')
    told = CliRunner().invoke(app, ["specialties", "check", str(own)]).stdout.splitlines()
    assert "  legal needs a model for part of it (local engine for the rest): Judging." in told
    assert "  code needs a model" in told
    assert "  extraction needs nothing (local engine)" in told
    listed = json.loads(CliRunner().invoke(app, ["specialties", "-o", "json"]).stdout)["specialties"]
    left = {row["name"]: row["needs_model"] for row in listed}
    assert left["translation"] == "Translating from one language into another."
    assert left["extraction"] == ""


def test_an_empty_prompt_is_a_fault(own: Path) -> None:
    (own / "legal" / "prompt.md").write_text(" \n")
    assert "is empty" in check(own)[1][0]


def test_a_broken_folder_hides_no_other_ones_faults(own: Path) -> None:
    new_specialty("second", into=own, builtin=False, chart=None)
    changed(own / "legal" / "specialty.toml", "purpose", "aim")
    (own / "second" / "prompt.md").write_text("")
    _, faults, names = check(own)
    assert len(faults) == 2
    assert "legal" not in names


def test_the_sample_decides_what_the_engine_is_tried_on(own: Path) -> None:
    sample = own / "legal" / "sample.toml"
    sample.write_text('text = "three small words"\n[options]\ndepth = "full"\n')
    assert check(own)[0] == 0  # refusing with NeedsModel is honest
    sample.write_text('documents = ["nowhere.txt"]\n')
    assert "nowhere.txt" in check(own)[1][0]
    sample.write_text('txt = "three"\n')
    assert "there is no txt in a sample" in check(own)[1][0]


def test_an_engine_that_never_ends_is_stopped(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(own / "legal" / "local.py", "    words = len", "    while True:\n        pass\n    words = len")
    monkeypatch.setattr("hocket.cli.catalogue.TRIAL_SECONDS", 2)
    assert "did not end within 2 seconds" in check(own)[1][0]
    assert TRIAL_SECONDS == 30


def test_a_folder_without_specialties_is_said(tmp_path: Path) -> None:
    assert "there is no specialty in it" in check(tmp_path)[1][0]
