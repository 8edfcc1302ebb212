"""What a follower sees of a request, however its events come."""

import itertools
from typing import Any

from hocket.cli.follow import TextLines, View, document, line
from hocket.contracts.records import Answer, PlannedTask, Progress, Receipt, TaskReceipt
from hocket.core.transcript import Change


def planned(task_id: str, *depends_on: str) -> PlannedTask:
    return PlannedTask(task_id=task_id, specialty="extraction", instruction="-", depends_on=depends_on)


PLAN = (planned("a"), planned("b"), planned("c", "a", "b"), planned("d", "a", "c"))


def event(kind: Any, task_id: str | None = None, at: int = 0, **more: Any) -> Progress:
    return Progress(request_id="r", kind=kind, task_id=task_id, at=at, **more)


def seen(*events: Progress | Answer) -> View:
    view = View(request_id="r")
    for one in events:
        view = view.after(one)
    return view


def test_a_plan_makes_all_tasks_pending_under_their_last_dependency() -> None:
    view = seen(event("planned", tasks=PLAN))
    assert {t.state for t in view.tasks.values()} == {"pending"}
    assert view.parents() == {"a": None, "b": None, "c": "a", "d": "c"}


def test_states_move_on_and_never_back() -> None:
    begun = event("assigned", "a", at=5, worker="w")
    done = event("completed", "a", at=9, worker="w")
    view = seen(event("planned", tasks=PLAN), done, begun)
    assert (view.tasks["a"].state, view.tasks["a"].ended_at) == ("completed", 9)


def test_the_order_between_plan_and_task_does_not_matter() -> None:
    events = [event("planned", tasks=PLAN), event("assigned", "a", at=5), event("completed", "a", at=9)]
    for order in itertools.permutations(events):
        view = seen(*order)
        assert view.tasks["a"].state == "completed"
        assert view.tasks["a"].planned == PLAN[0]
        assert set(view.tasks) == {"a", "b", "c", "d"}


def test_streamed_text_is_kept_within_bounds() -> None:
    view = seen(event("planned", tasks=PLAN))
    for n in range(1000):
        view = view.said(Change(task_id="a", start=5 * n, text="word "))
    assert len(view.tasks["a"].text) == 200
    assert view.said(Change(task_id="a", start=0, text="anew")).tasks["a"].text == "anew"


def test_a_task_that_is_sent_again_is_assigned_again() -> None:
    failed = event("failed", "a", text="timeout", attempt=1)
    view = seen(event("assigned", "a"), failed, event("assigned", "a", at=7, attempt=2, worker="v"))
    assert (view.tasks["a"].state, view.tasks["a"].worker, view.tasks["a"].text) == ("assigned", "v", "")
    assert view.after(failed) == view, "what a run that was given up says changes nothing"


def test_text_lines_are_whole_and_say_when_a_text_begins_anew() -> None:
    lines, told = TextLines(), event("text", "a")
    assert lines.after(told, [Change(task_id="a", start=0, text="one\ntw")]) == ["a| one"]
    assert lines.after(told, [Change(task_id="b", start=0, text="x")]) == []
    assert lines.after(told, [Change(task_id="a", start=6, text="o\n")]) == ["a| two"]
    assert lines.after(told, [Change(task_id="a", start=0, text="new\n")]) == [
        "a: begun anew from character 0",
        "a| new",
    ]
    assert lines.after(event("completed", "b"), []) == ["b| x"]


def test_documents_say_how_texts_change_and_where_to_go_on() -> None:
    told = event("text", "a", worker="w", text="more", run="1", start=3)
    assert document(told, [Change(task_id="a", start=3, text="more")], "1-2-3") == {
        "kind": "text", "task": "a", "worker": "w", "attempt": 1, "revision": 0,
        "texts": [{"task": "a", "from": 3, "text": "more"}], "token": "1-2-3",
    }  # fmt: skip
    planned_ = document(event("planned", tasks=PLAN[:1]), [], "t")
    assert planned_["tasks"] == [{"task": "a", "specialty": "extraction", "depends_on": []}]
    assert document(event("failed", "a", text="why"), [], "t")["message"] == "why"


def test_planning_is_not_one_of_the_tasks() -> None:
    view = seen(event("assigned", "planning", worker="p"), event("completed", "planning", worker="p"))
    assert view.tasks == {}
    assert view.planner == "p"


def test_the_receipt_has_the_last_word() -> None:
    receipt = Receipt(
        tasks=(TaskReceipt(task_id="a", specialty="extraction", state="skipped"),), admitted_at=0, answered_at=1
    )
    view = seen(event("assigned", "a"), Answer(request_id="r", status="partial", receipt=receipt))
    assert {i: t.state for i, t in view.tasks.items()} == {"a": "skipped"}


def test_a_circle_in_a_foreign_plan_does_no_harm() -> None:
    view = seen(event("planned", tasks=(planned("a", "b"), planned("b", "a"), planned("c", "gone"))))
    assert set(view.parents()) == {"a", "b", "c"}


def test_lines_for_pipes() -> None:
    assert line(event("planned", tasks=PLAN[:2])) == "plan: a (extraction), b (extraction)"
    assert line(event("failed", "a", text="no model")) == "a: failed: no model"
    assert line(event("text", "a", text="x")) is None
