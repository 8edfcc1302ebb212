"""The tiers themselves."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="not distributed")
def test_a_tier_runs_in_one_process(request: pytest.FixtureRequest) -> None:
    """Past bug: pytest 9.2 made pytest-xdist 3.8 group nothing and say nothing, so stacks ran beside each other."""
    assert request.node.nodeid.endswith("@kafka")
