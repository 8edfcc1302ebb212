"""The generated pages are current, and the AsyncAPI document hangs together."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from hocket.contracts.asyncapi import document
from hocket.contracts.specialties import load_specialties
from hocket.contracts.topics import Topics, load_specs
from tests.support.reference import pages
from tests.support.tree import ROOT

PAGES = pages()


@pytest.mark.parametrize("path", sorted(PAGES))
def test_a_generated_page_is_current(path: str) -> None:
    target = ROOT / path
    assert target.exists(), f"{path} is missing: run `python -m tests.support.reference`"
    assert target.read_text("utf-8") == PAGES[path], f"{path} is old: run `python -m tests.support.reference`"


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [r for v in node.values() for r in references(v)]
    return [r for v in node for r in references(v)] if isinstance(node, list) else []


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    found = yaml.safe_load(PAGES["docs/asyncapi.yaml"])
    wanted = references(found)
    assert wanted
    for reference in wanted:
        node = found
        for step in reference.removeprefix("#/").split("/"):
            assert step in node, reference
            node = node[step]


def test_every_declared_flow_is_an_operation() -> None:
    operations = yaml.safe_load(PAGES["docs/asyncapi.yaml"])["operations"]
    wanted = set()
    for name, spec in load_specs().items():
        channel = name.replace("{specialty}", "specialty")
        wanted |= {f"{who}_send_{channel}" for who in spec.producers}
        wanted |= {f"{who}_receive_{channel}" for who in spec.consumers}
    assert set(operations) == wanted
    assert {n for n, o in operations.items() if {"name": "internal"} not in o["tags"]} == {
        "client_send_requests", "client_send_control", "client_receive_answers", "client_receive_progress",
    }  # fmt: skip


def test_an_installation_shows_its_own_names_and_a_channel_for_each_specialty() -> None:
    found = document(Topics("prod-"), load_specialties())
    addresses = {c["address"] for c in found["channels"].values()}
    assert addresses == set(Topics("prod-").all(load_specialties()))
    assert found["channels"]["requests"]["bindings"]["kafka"]["topic"] == "prod-requests"
