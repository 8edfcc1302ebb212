"""The tree agrees with itself: what one file promises, another one keeps."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import load_specs
from hocket.runtime.settings import Settings
from tests.support.avro import named_types
from tests.support.tree import ROOT, TEXT, files, text

PROJECT = tomllib.loads(text(Path("pyproject.toml")))["project"]
SPECIALTIES = sorted(p.parent.name for p in files() if p.match("services/workers/*/specialty.toml"))
VALUES = yaml.safe_load(text(Path("helm/hocket/values.yaml")))

# Spelled in pieces, so that this file does not find itself.
FORBIDDEN = {
    "a home folder or checkout of one machine": re.compile(
        r"(?<![\w.])/(?:home/[a-z]\w+|Users/\w+|root|wo" + r"rk/\w+)/"
    ),
    "a package index": re.compile(
        r"pypi\.(?:org|python\.org)/simple|--(?:extra-)?index-url|files\.python" + r"hosted\.org|artifactory"
    ),
    "a key": re.compile(r"\b(?:sk-(?:ant-)?[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{16}|BEGIN [A-Z ]*PRIVATE KEY)"),
}


def _texts() -> list[tuple[Path, str]]:
    return [(p, text(p)) for p in files() if p.suffix in TEXT and p.name != "uv.lock"]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_carries(what: str) -> None:
    own = Path("tests/repo/test_tree.py")
    found = [
        f"{p}:{n}: {line.strip()[:120]}"
        for p, body in _texts()
        if p != own
        for n, line in enumerate(body.splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]
    assert found == [], what


@pytest.mark.parametrize("name", ["requirements/all.txt", "requirements/supply.txt", "requirements/uv.txt"])
def test_every_locked_requirement_has_hashes_and_no_address(name: str) -> None:
    body = text(Path(name))
    pins = re.split(r"\n(?=[a-zA-Z0-9])", re.sub(r"(?m)^\s*#.*\n?", "", body).strip())
    assert len(pins) >= 1
    assert [p.split()[0] for p in pins if "--hash=sha256:" not in p or "==" not in p.split("\n")[0]] == []
    assert re.findall(r"https?://\S+", body) == []


def test_every_runtime_and_development_dependency_is_locked() -> None:
    everything = tomllib.loads(text(Path("pyproject.toml")))
    wanted = [*PROJECT["dependencies"], *everything["dependency-groups"]["dev"]]
    wanted += [d for group in PROJECT["optional-dependencies"].values() for d in group]
    names = {re.split(r"[\[=<>~! ;]", d)[0].lower() for d in wanted} - {"hocket"}
    locked = set(re.findall(r"(?m)^([a-z0-9-]+)==", text(Path("requirements/all.txt"))))
    assert sorted(names - locked) == [], "run `make lock`"


@pytest.mark.parametrize("name", SPECIALTIES)
def test_every_built_in_specialty_is_complete(name: str) -> None:
    folder = Path("services/workers") / name
    wanted = [
        folder / "specialty.toml",
        folder / "prompt.md",
        folder / "__init__.py",
        Path(f"schemas/outputs/{name}.avsc"),
    ]
    assert [str(p) for p in wanted if p not in files()] == []
    assert name in load_specialties()
    assert name in VALUES["workers"], f"helm/hocket/values.yaml needs the key {name} under workers:"


@pytest.mark.parametrize("name", SPECIALTIES)
def test_every_field_of_an_output_record_is_explained(name: str) -> None:
    schema = json.loads(text(Path(f"schemas/outputs/{name}.avsc")))
    silent = []
    for definition in named_types(schema):
        silent += [] if definition.get("doc") else [definition["name"]]
        silent += [f"{definition['name']}.{f['name']}" for f in definition.get("fields", ()) if not f.get("doc")]
    assert silent == []


def test_nothing_stands_in_the_chart_or_among_the_outputs_without_its_specialty() -> None:
    assert sorted(VALUES["workers"]) == SPECIALTIES
    assert sorted(p.stem for p in files() if p.match("schemas/outputs/*.avsc")) == SPECIALTIES


def _table(heading: str) -> list[dict[str, str]]:
    """The first table below a heading of the README, a row as header -> cell."""
    after = text(Path("README.md")).split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    rows = [[c.strip() for c in line.strip("| ").split("|")] for line in after.splitlines() if line.startswith("|")]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def _code(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


@pytest.mark.parametrize("service", ["aggregator", "planner", "worker", "monitor"])
def test_the_services_table_of_the_readme_is_that_of_topics_yaml(service: str) -> None:
    row = next(r for r in _table("Services") if service in r["service"])
    specs = load_specs()
    shown = {n.replace("{specialty}", "<specialty>"): s for n, s in specs.items()}
    assert _code(row["reads"]) == {n for n, s in shown.items() if service in s.consumers}
    assert _code(row["writes"]) == {n for n, s in shown.items() if service in s.producers}


def test_every_setting_in_the_readme_exists() -> None:
    fields = {f"HOCKET_{n.upper()}" for n in Settings.model_fields} | {"HOCKET_DATA", "HOCKET_CACHE", "HOCKET_LIMITS"}
    named = {v for row in _table("Configuration") for v in _code(row["variable"]) if v.startswith("HOCKET_")}
    assert named
    assert sorted(named - fields) == []


def _targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z-]+):", text(Path("Makefile"))))


@pytest.mark.parametrize("page", [p for p in files() if p.suffix == ".md" and p.parts[0] not in ("tests", "services")])
def test_every_make_target_in_a_page_exists(page: Path) -> None:
    named = set(re.findall(r"(?:^|`|\n)make ([a-z-]+)", text(page)))
    assert named <= _targets() | {"sure", "it"}, page


@pytest.mark.parametrize("page", [p for p in files() if p.suffix == ".md" and p.parts[0] not in ("tests", "services")])
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text(page))
    assert [x for x in links if not (ROOT / page.parent / x).exists()] == []


def test_every_make_target_is_explained_and_phony() -> None:
    makefile = text(Path("Makefile"))
    explained = set(re.findall(r"(?m)^([a-z-]+):.*## ", makefile))
    phony = set(" ".join(re.findall(r"(?m)^\.PHONY: (.*)", makefile)).split())
    assert _targets() == explained == phony


def test_the_changelog_tells_of_this_version() -> None:
    assert re.search(rf"(?m)^## {re.escape(PROJECT['version'])}\b", text(Path("CHANGELOG.md")))


def test_one_version_everywhere() -> None:
    import hocket

    chart: dict[str, Any] = yaml.safe_load(text(Path("helm/hocket/Chart.yaml")))
    assert (hocket.__version__, chart["appVersion"]) == (PROJECT["version"], PROJECT["version"])


def test_the_licence_is_apache_2_in_full() -> None:
    licence = text(Path("LICENSE"))
    assert PROJECT["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_architecture_stays_short() -> None:
    assert text(Path("ARCHITECTURE.md")).count("\n") <= 150


def test_every_decision_is_numbered_without_gaps() -> None:
    numbers = sorted(int(p.name[:4]) for p in files() if p.match("docs/decisions/*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_ci_entry_can_be_run() -> None:
    listed = subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=False, capture_output=True)
    assert listed.returncode == 0
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_file_that_a_page_names_exists(page: str) -> None:
    named = re.findall(
        r"`((?:services|libs|tests|schemas|docs|helm)/[\w./-]+\.(?:py|yaml|md|avsc))(?:: \w+)?`", text(Path(page))
    )
    assert named
    assert [n for n in named if not (ROOT / n).exists()] == []
