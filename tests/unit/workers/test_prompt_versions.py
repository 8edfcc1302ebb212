"""A prompt that is edited while a request is in flight: the request keeps the one it began with, and says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hocket.cli.scaffold import new_specialty
from hocket.contracts.claims import Blobs
from hocket.contracts.records import Task
from hocket.contracts.specialties import Specialty, load_specialty
from hocket.contracts.topics import Topics
from hocket.kafka.runtime import Delivery
from hocket.llm.base import ModelCall
from services.workers.engine import Engines
from services.workers.service import Worker
from tests.support.scripted import Clock, ScriptedProvider, models_of


def worker_of(specialty: Specialty, provider: ScriptedProvider, blobs: Path) -> Worker:
    now = Clock().now_ms
    return Worker(
        specialty=specialty, topics=Topics("t-"), engines=Engines(models_of(provider), now),
        blobs=Blobs(blobs.as_uri()), worker="w", now_ms=now,
    )  # fmt: skip


def delivery() -> Any:
    class Quiet(Delivery):
        def __init__(self) -> None:
            pass

        def emit(self, outgoing: Any) -> None:
            pass

    return Quiet()


async def test_a_request_in_flight_keeps_its_prompt_through_a_repair(tmp_path: Path) -> None:
    new_specialty("legal", into=tmp_path, builtin=False, chart=None)
    folder = tmp_path / "legal"
    (folder / "prompt.md").write_text("The old prompt.")
    old = load_specialty(folder, builtin=False)

    def script(call: ModelCall) -> dict[str, Any]:
        # The user saves a new prompt while the model thinks; its first reply then needs a repair.
        (folder / "prompt.md").write_text("The new prompt.")
        return {"text": "fits"} if len(provider.calls) > 1 else {"wrong": "reply"}

    provider = ScriptedProvider("anthropic", script)
    task = Task(
        request_id="r", task_id="t", specialty="legal", instruction="Do it.", text="x", strategy="best", dispatched_at=1
    )
    (sent,) = await worker_of(old, provider, tmp_path / "b").handle(task, delivery())
    assert [call.system for call in provider.calls] == ["The old prompt."] * 2
    assert sent.record.status == "completed"
    assert sent.record.prompt_version == old.version

    new = load_specialty(folder, builtin=False)
    (sent,) = await worker_of(new, provider, tmp_path / "b").handle(task, delivery())
    assert provider.calls[-1].system == "The new prompt."
    assert sent.record.prompt_version == new.version != old.version
