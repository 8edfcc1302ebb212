"""Dockerfile, docker-compose.yml and .env agree with the rest of the tree. No engine is needed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import load_specs
from hocket.local import jars
from hocket.runtime.settings import Settings
from tests.support.tree import ROOT, text

COMPOSE: dict[str, Any] = yaml.safe_load(text(Path("docker-compose.yml")))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ENV = dict(line.split("=", 1) for line in text(Path(".env")).splitlines() if line and not line.startswith("#"))
PROJECT = tomllib.loads(text(Path("pyproject.toml")))["project"]
DOCKERFILE = text(Path("Dockerfile"))
OWN = {n: s for n, s in SERVICES.items() if str(s.get("image", "")).startswith("hocket-")}
WORKERS = {f"worker-{s}" for s in load_specialties()}
OTHER_SETTINGS = {"HOCKET_SPECIALTY", "HOCKET_LIMITS", "HOCKET_DATA"}
"""Read elsewhere than in settings.py."""


def filled(value: str) -> str:
    """The value with the variables of .env put in, as compose does it."""
    return re.sub(r"(?<!\$)\$\{(\w+)(?::-([^}]*))?\}", lambda m: ENV.get(m[1], m[2] or ""), value)


def profiles() -> set[str]:
    return {p for s in SERVICES.values() for p in s.get("profiles", ())}


def test_every_service_is_there() -> None:
    roles = {r for spec in load_specs().values() for r in (*spec.producers, *spec.consumers)} - {"client", "worker"}
    assert set(OWN) == roles | WORKERS | {"topics"}


@pytest.mark.parametrize("name", sorted(WORKERS))
def test_every_worker_works_on_its_specialty(name: str) -> None:
    assert SERVICES[name]["environment"]["HOCKET_SPECIALTY"] == name.removeprefix("worker-")
    large = name in ("worker-extraction", "worker-sentiment")  # OCR, and an embedding
    assert (SERVICES[name]["build"]["args"]["SERVICE"] == "worker-extraction") is large


@pytest.mark.parametrize("name", sorted(OWN))
def test_every_setting_exists(name: str) -> None:
    known = {f"HOCKET_{n.upper()}" for n in Settings.model_fields} | OTHER_SETTINGS
    named = {n for n in SERVICES[name]["environment"] if n.startswith("HOCKET_")}
    assert named
    assert sorted(named - known) == []


def test_every_setting_of_the_image_exists() -> None:
    known = {f"HOCKET_{n.upper()}" for n in Settings.model_fields} | OTHER_SETTINGS
    named = set(re.findall(r"\b(HOCKET_\w+)=", DOCKERFILE))
    assert named
    assert sorted(named - known) == []


@pytest.mark.parametrize("name", sorted(OWN))
def test_every_service_is_hardened_and_can_be_scaled(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "container_name" not in service, "two containers cannot have one name"
    assert "hostname" not in service, "the host name is HOCKET_INSTANCE's default: each replica needs its own"


@pytest.mark.parametrize("profile", [None, *sorted(profiles())])
def test_a_service_that_stays_waits_for_each_job_that_ends(profile: str | None) -> None:
    """`up --wait` takes the end of a job for a failure unless a service of the same profile waits for it."""
    there = {n: s for n, s in SERVICES.items() if not s.get("profiles") or profile in s["profiles"]}
    jobs = {n for n, s in there.items() if s.get("restart") == "no"}
    waited = {
        on
        for n, s in there.items()
        if n not in jobs and isinstance(s.get("depends_on"), dict)
        for on, how in s["depends_on"].items()
        if how["condition"] == "service_completed_successfully"
    }
    assert jobs == {"topics"}
    assert jobs <= waited


def test_what_stays_is_started_again() -> None:
    assert {n for n, s in SERVICES.items() if s.get("restart") != "unless-stopped"} == {"topics"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_has_a_version_and_only_env_says_which(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.search(r":\d|\d+\.\d+", image) is None, f"{image}: versions stand in .env"
    tag = filled(image).rpartition(":")[2]
    assert re.match(r"v?\d", tag), f"{filled(image)} has no version"


def test_every_port_stands_in_env_and_is_published_on_one_address() -> None:
    published = [p for s in SERVICES.values() for p in s.get("ports", ())]
    assert len(published) == 6
    assert all(re.fullmatch(r"\$\{BIND_ADDRESS\}:\$\{\w+_PORT\}:\d+", p) for p in published)
    ports = [filled(p).split(":")[1] for p in published]
    assert len(set(ports)) == len(ports)


def test_every_variable_has_a_value_or_a_default() -> None:
    bare = set(re.findall(r"(?<!\$)\$\{(\w+)\}", text(Path("docker-compose.yml"))))
    assert sorted(bare - set(ENV)) == []


def test_versions_are_those_of_the_rest_of_the_tree() -> None:
    assert ENV["HOCKET_VERSION"] == PROJECT["version"]
    assert ENV["KAFKA_IMAGE"] == f"apache/kafka:{jars.KAFKA_VERSION}"
    assert ENV["REGISTRY_IMAGE"].endswith(f":{jars.REGISTRY_VERSION}")
    assert f"ARG PYTHON_IMAGE={ENV['PYTHON_IMAGE']}" in DOCKERFILE


def test_every_service_named_in_the_build_is_an_extra() -> None:
    built = {s["build"]["args"]["SERVICE"] for s in OWN.values()} | set(re.findall(r"ARG SERVICE=([\w-]+)", DOCKERFILE))
    assert sorted(built - set(PROJECT["optional-dependencies"])) == []


def test_the_image_names_no_front_end_and_no_index() -> None:
    assert not re.search(r"(?m)^#\s*syntax", DOCKERFILE), "it would be pulled at each build"
    assert not re.search(r"(?i)index[-_]url|https?://", DOCKERFILE), "an address would stay in the image's history"
    assert re.search(r"(?m)^USER 10001", DOCKERFILE)
    assert re.search(r"(?m)^HEALTHCHECK", DOCKERFILE)


def test_prometheus_looks_at_every_service() -> None:
    config = yaml.safe_load(text(Path("compose/prometheus.yml")))
    (job,) = config["scrape_configs"]
    assert set(job["dns_sd_configs"][0]["names"]) == set(OWN) - {"topics"}
    assert job["honor_labels"] is True, "or hocket_service_up would speak of the monitor only"


def test_every_file_that_is_mounted_exists() -> None:
    mounted = [v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", ()) if v.startswith("./")]
    assert mounted
    assert [m for m in mounted if not (ROOT / m).exists()] == []


def test_provider_variables_come_from_the_shell_only() -> None:
    """A value in the file, even an empty one, would hide the shell's."""
    for name in WORKERS | {"planner"}:
        environment = SERVICES[name]["environment"]
        assert {k: environment[k] for k in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")} == {
            "ANTHROPIC_API_KEY": None,
            "OPENAI_API_KEY": None,
        }
