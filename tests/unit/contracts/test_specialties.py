"""Specialties as folders: what makes one complete, and what is said when it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hocket.contracts.specialties import STRATEGIES, SpecialtyError, load_specialties, load_specialty

TOML = """name = "legal"
purpose = "Finds the clauses that matter."
text = "verdict"
max_output_tokens = 512

[ladder]
fast = ["small"]
balanced = ["small", "middle"]
best = ["frontier"]
"""
RECORD = {
    "type": "record",
    "name": "Legal",
    "namespace": "hocket.outputs",
    "fields": [{"name": "verdict", "type": "string", "doc": "In one sentence."}],
}


def folder(root: Path, name: str = "legal", toml: str = TOML, record: object = RECORD) -> Path:
    made = root / name
    made.mkdir(parents=True)
    (made / "specialty.toml").write_text(toml)
    (made / "prompt.md").write_text("Read the contract.")
    (made / "output.avsc").write_text(record if isinstance(record, str) else json.dumps(record))
    return made


@pytest.mark.parametrize("name", sorted(load_specialties()))
def test_every_built_in_specialty_is_complete(name: str) -> None:
    found = load_specialties()[name]
    assert found.builtin
    assert found.prompt.strip()
    assert set(found.ladder) == set(STRATEGIES)
    assert all(found.ladder.values())


def test_an_own_specialty_is_a_folder(tmp_path: Path) -> None:
    folder(tmp_path)
    found = load_specialties(tmp_path)["legal"]
    assert (found.purpose, found.text_field, found.builtin) == ("Finds the clauses that matter.", "verdict", False)
    assert not found.has_local
    assert set(load_specialties()) < set(load_specialties(tmp_path))


@pytest.mark.parametrize("name", sorted(load_specialties()))
def test_a_built_in_engine_that_leaves_work_to_a_model_says_which(name: str) -> None:
    found = load_specialties()[name]
    refuses = found.has_local and "NeedsModel" in (found.folder / "local.py").read_text()
    assert bool(found.needs_model) == refuses


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('local = "part"', "belong together"),
        ('needs_model = "Judging."', "belong together"),
        ('local = "part"\nneeds_model = "Judging."', "there is no local.py"),
        ('local = "some"', "'whole' or 'part'"),
    ],
)
def test_what_a_partly_local_engine_leaves_to_a_model_is_one_sentence(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(SpecialtyError, match=said):
        load_specialty(folder(tmp_path, toml=TOML.replace("[ladder]", f"{more}\n[ladder]")), builtin=False)


def test_an_own_folder_replaces_a_built_in_one(tmp_path: Path) -> None:
    folder(tmp_path, "sentiment", TOML.replace("legal", "sentiment"))
    assert load_specialties(tmp_path)["sentiment"].folder == tmp_path / "sentiment"


def test_folders_without_a_declaration_are_no_specialties(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    assert set(load_specialties(tmp_path)) == set(load_specialties())


WRONG = [
    ("legal", TOML.replace('name = "legal"', 'name = "law"'), RECORD, r"name = 'law' must equal the folder's name"),
    ("Legal", TOML.replace('"legal"', '"Legal"'), RECORD, "in small letters, digits and -"),
    ("legal", TOML.replace('purpose = "Finds the clauses that matter."\n', ""), RECORD, "purpose: Field required"),
    ("legal", TOML.replace('best = ["frontier"]\n', ""), RECORD, r"ladder\.best: Field required"),
    ("legal", TOML.replace('"verdict"', '"opinion"'), RECORD, "'opinion' is not a field of the output record"),
    ("legal", "name = legal", RECORD, r"specialty\.toml: "),
    ("legal", TOML, "{", "not an Avro record"),
    ("legal", TOML, {"type": "enum", "name": "E", "symbols": ["A"]}, "must be an Avro record"),
    ("legal", TOML, {**RECORD, "fields": [{"name": "verdict", "type": "nowhere"}]}, "not an Avro record"),
    ("legal", TOML.replace("512", '"many"'), RECORD, r"specialty\.toml: "),
    ("legal", TOML.replace('best = ["frontier"]', "best = 3"), RECORD, r"ladder\.best: Input should be a valid list"),
    ("legal", TOML.replace('["frontier"]', '"frontier"'), RECORD, r"ladder\.best: Input should be a valid list"),
    ("legal", TOML.replace('["frontier"]', "[]"), RECORD, r"ladder\.best: List should have at least 1 item"),
    ("legal", TOML.replace("purpose", "aim"), RECORD, "aim: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("name", "toml", "record", "said"), WRONG)
def test_a_wrong_folder_is_named_with_its_fault(
    tmp_path: Path, name: str, toml: str, record: object, said: str
) -> None:
    made = folder(tmp_path, name, toml, record)
    with pytest.raises(SpecialtyError, match=said) as caught:
        load_specialty(made, builtin=False)
    assert str(made) in str(caught.value)


@pytest.mark.parametrize("missing", ["prompt.md", "output.avsc", "specialty.toml"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    made = folder(tmp_path)
    (made / missing).unlink()
    with pytest.raises(SpecialtyError, match=missing):
        load_specialty(made, builtin=False)


def test_a_folder_of_specialties_that_is_not_there_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SpecialtyError, match="HOCKET_SPECIALTIES"):
        load_specialties(tmp_path / "nowhere")


def test_the_version_follows_what_shapes_the_output(tmp_path: Path) -> None:
    made = folder(tmp_path)
    before = load_specialty(made, builtin=False).version
    (made / "specialty.toml").write_text(TOML.replace("Finds", "Seeks"))
    assert load_specialty(made, builtin=False).version == before
    (made / "prompt.md").write_text("Read the contract twice.")
    assert load_specialty(made, builtin=False).version != before
