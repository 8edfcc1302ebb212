"""The steps of a bundle at the worker: what each one is given, where the worker stops, and what it reports."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

from hocket.contracts.claims import INLINE_LIMIT, Blobs
from hocket.contracts.records import Attachment, BundledStep, Output, Result, Task, TaskInput
from hocket.core.work import Work
from services.workers.bundle import Bundle
from services.workers.engine import Outcome
from services.workers.service import work_of
from tests.unit.workers.test_service import SPECIALTY

KNOWN = {name: replace(SPECIALTY, name=name) for name in ("writing", "sentiment", "decision")}


class Local:
    """Says what it was given; leaves the tasks named in `leaves`."""

    def __init__(self, *leaves: str, text: str = "") -> None:
        self.leaves, self.text, self.seen = leaves, text, list[Work]()

    async def run_local(self, _specialty: Any, work: Work, **_: Any) -> Outcome | None:
        self.seen.append(work)
        if work.task_id in self.leaves:
            return None
        text = self.text or f"{work.task_id}({','.join(i.task_id for i in work.inputs)})"
        return Outcome(output={"text": text}, text=text, engine="local", why="w")


def output(specialty: str, text: str) -> Output:
    return Output(specialty=specialty, text=text, data=json.dumps({"text": text}))


STEPS = (
    BundledStep(task_id="b", specialty="sentiment", instruction="i", depends_on=("a",), options='{"x": 1}', attempt=1),
    BundledStep(
        task_id="c", specialty="decision", instruction="i", depends_on=("z", "b"), attempt=2,
        inputs=(TaskInput(task_id="z", output=output("writing", "earlier")),),
        context=json.dumps({"results": {"research": "before"}}),
    ),
)  # fmt: skip
HEAD = Result(
    request_id="r", task_id="a", specialty="writing", status="completed", output=output("writing", "first"),
    worker="w", started_at=1, ended_at=2,
)  # fmt: skip


def task(**changes: Any) -> Task:
    fields = {"request_id": "r", "task_id": "a", "specialty": "writing", "instruction": "i", "dispatched_at": 1}
    return Task(**(fields | {"bundle": STEPS} | changes))


async def done(local: Local, given: Task, head: Result = HEAD, now: int = 10) -> tuple[list[str], list[str], Any]:
    told: list[str] = []
    look = partial(work_of, blobs=Blobs("memory://none"))
    bundle = Bundle(engines=local, known=KNOWN, look=look, now_ms=lambda: now)
    found = await bundle.run(given, head, lambda t: told.append(t.task_id))
    return [f"{f.task_id}: {f.output.text}" for f in found], told, found


async def test_each_step_gets_what_it_would_have_been_dispatched_with() -> None:
    local = Local()
    said, told, found = await done(local, task())
    assert said == ["b: b(a)", "c: c(z,b)"]
    assert told == ["b", "c"]
    assert [dict(w.earlier) for w in local.seen] == [{}, {"research": "before", "writing": "first"}]
    assert local.seen[0].options == {"x": 1}
    assert [(f.specialty, f.attempt, f.engine, f.started_at) for f in found] == [
        ("sentiment", 1, "local", 10),
        ("decision", 2, "local", 10),
    ]


async def test_it_stops_at_the_first_step_that_needs_more() -> None:
    assert (await done(Local("b"), task()))[0] == []
    assert (await done(Local("c"), task()))[:2] == (["b: b(a)"], ["b"])


async def test_nothing_is_begun_behind_a_failure_or_past_the_deadline() -> None:
    local = Local()
    failed = HEAD.model_copy(update={"status": "failed", "output": None})
    assert (await done(local, task(), failed))[0] == []
    assert (await done(local, task(deadline=10)))[0] == []
    assert local.seen == []


async def test_a_specialty_it_does_not_know_and_documents_elsewhere_are_left() -> None:
    local = Local()
    strange = STEPS[0].model_copy(update={"specialty": "astrology"})
    assert (await done(local, task(bundle=(strange,))))[0] == []
    far = Attachment(name="x", media_type="text/plain", uri="memory://none/x")
    assert (await done(local, task(attachments=(far,))))[0] == []
    assert local.seen == []


async def test_options_that_are_no_json_are_left_to_the_ordinary_way() -> None:
    bad = STEPS[0].model_copy(update={"options": "{"})
    assert (await done(Local(), task(bundle=(bad,))))[0] == []


async def test_the_report_stays_within_one_record() -> None:
    assert (await done(Local(text="x" * (INLINE_LIMIT // 3)), task()))[:2] == (
        ["b: " + "x" * (INLINE_LIMIT // 3)],
        ["b"],
    )
