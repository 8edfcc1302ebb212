"""Fixtures shared by all tiers: one embedded broker per test process, a fresh topic prefix per test.

Tiers are folders: tests/kafka needs the embedded broker, tests/e2e starts whole services on it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from hocket.contracts.topics import Topics
from hocket.runtime.settings import Settings
from tests.support import guard

ROOT = Path(__file__).parents[1]
TIERS = ("kafka", "e2e")
KEPT = ("HOCKET_CACHE", "HOCKET_JAVA", "HOCKET_MAVEN")
"""Settings of the machine (where the jars are); every other HOCKET_ variable would change what the tests see."""

# No test can reach a real provider by accident: only loopback base URLs are called, only loopback is connected to.
for key in [k for k in os.environ if k.startswith("HOCKET_") and k not in KEPT]:
    os.environ.pop(key)
os.environ["HOCKET_ALLOW_REAL_MODELS"] = "0"
guard.install()
# Nor does any find, or leave anything in, the user's own data: a running `hocket dev` would be taken for the test's.
DATA = tempfile.mkdtemp(prefix="hocket-tests-")
os.environ["HOCKET_DATA"] = DATA
for key in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"):
    os.environ.pop(key, None)

# HYPOTHESIS_PROFILE=deep looks much further; no deadline, because a busy machine is not a bug.
hypothesis_settings.register_profile("fast", max_examples=25, deadline=None)
hypothesis_settings.register_profile("deep", max_examples=2_000, deadline=None)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test with its tier. A tier runs in one process: two stacks at once would measure each other."""
    for item in items:
        tier = next((part for part in item.path.relative_to(ROOT).parts if part in TIERS), None)
        if tier is None and {"broker", "own_broker"} & set(getattr(item, "fixturenames", ())):
            tier = "kafka"
        if tier is not None:
            item.add_marker(tier)
            item.add_marker(pytest.mark.xdist_group(tier))


def pytest_unconfigure() -> None:
    shutil.rmtree(DATA, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def downloads(request: pytest.FixtureRequest) -> None:
    """What the tiers start is there before their first test: no test goes out for it, on a fresh machine either."""
    from hocket.local import jars

    if any(item.get_closest_marker(tier) for item in request.session.items for tier in TIERS):
        with guard.outside():
            for bundle in (jars.KAFKA, jars.REGISTRY):
                jars.installed(bundle, print)


@pytest.fixture(scope="session")
def broker() -> Iterator[object]:
    """A real Apache Kafka broker for the whole test process."""
    from hocket.local.broker import EmbeddedBroker

    with EmbeddedBroker(progress=print) as running:
        yield running


@pytest.fixture
def own_broker() -> Iterator[object]:
    """A broker for a test that freezes, stops or kills it: it must come back at once, and no other test may suffer.

    The shared one holds thousands of partitions by then, which it must all look through after a crash.
    """
    from hocket.local.broker import EmbeddedBroker

    with EmbeddedBroker(progress=print) as running:
        yield running


@pytest.fixture(scope="session")
def registry() -> Iterator[str]:
    """A real schema registry (Apicurio with Confluent's API): its address. Tests take subjects of their own."""
    from hocket.local.registry import ApicurioRegistry

    with ApicurioRegistry(progress=print) as running:
        yield running.url


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """An installation of its own: a fresh prefix, folders of its own; on the embedded broker if the test has one."""
    bootstrap = "127.0.0.1:1"
    for fixture in ("own_broker", "broker"):
        if fixture in request.fixturenames:
            bootstrap = request.getfixturevalue(fixture).bootstrap
            break
    return Settings(
        bootstrap=bootstrap,
        prefix=f"t{uuid.uuid4().hex[:8]}-",
        partitions=4,
        blob_store=(tmp_path / "blobs").as_uri(),
        state_dir=tmp_path / "state",
        grace_seconds=5.0,
        log_format="text",
    )


@pytest.fixture
async def topics_ready(broker: object, settings: Settings) -> Topics:
    """The installation's topics, created on the broker."""
    from hocket.contracts.specialties import load_specialties
    from hocket.kafka.admin import apply_topics

    await apply_topics(settings, load_specialties(settings.specialties))
    return Topics(settings.prefix)
