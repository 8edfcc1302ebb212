"""How an answer looks, and what its JSON is."""

import io

import pytest
from rich.console import Console

from hocket.cli import render
from hocket.cli.base import printable
from hocket.cli.follow import View
from hocket.contracts.records import (
    Answer,
    Error,
    LeftOut,
    Output,
    PlannedTask,
    Progress,
    Receipt,
    TaskInput,
    TaskReceipt,
)
from hocket.core.transcript import Change

ANSWER = Answer(
    request_id="r1",
    status="partial",
    content="All is well\x1b[31m.",
    outputs=(TaskInput(task_id="a", output=Output(specialty="extraction", data='{"total": 3}')),),
    error=Error(kind="needs_model", message="b: this needs a model [bold]"),
    receipt=Receipt(
        tasks=(
            TaskReceipt(
                task_id="a", specialty="extraction", state="completed", engine="local", worker="w/1",
                why="first of the ladder", started_at=1000, ended_at=2500, cost_usd=0.0,
            ),
            TaskReceipt(
                task_id="b", specialty="synthesis", state="failed", cost_usd=None,
                error=Error(kind="needs_model", message="this needs a model"),
            ),
        ),
        critical_path=("a", "b"),
        cost_usd=None,
        left_out=(LeftOut(what="b", why="no model"),),
        admitted_at=500,
        answered_at=3000,
    ),
)  # fmt: skip


def shown(answer: Answer) -> str:
    out = io.StringIO()
    render.print_receipt(answer, Console(file=out, width=10_000))
    return out.getvalue()


def test_the_receipt_names_everything() -> None:
    text = shown(ANSWER)
    for word in ("partial in 2.5 s", "cost unknown", "first of the ladder", "1.5 s", "$0", "this needs a model"):
        assert word in text
    assert "critical path: a > b" in text
    assert "left out: b: no model" in text


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (1, "cost unknown without 1 run that was lost with its worker (what it called may be billed), 0 model calls"),
        (3, "without 3 runs that were lost with their workers (what they called may be billed)"),
        (0, "cost unknown, 0 model calls"),
    ],
)
def test_what_may_be_billed_and_is_in_no_cost_is_said(runs: int, said: str) -> None:
    receipt = ANSWER.receipt.model_copy(update={"lost_runs": runs})
    assert said in shown(ANSWER.model_copy(update={"receipt": receipt}))


def test_an_answer_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    render.print_answer(ANSWER)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "All is well[31m." in printed
    assert "[bold]" in printed, "markup in foreign text is text"


def test_printable_keeps_lines_and_letters() -> None:
    assert printable("a\tb\nc ü 日本 \u202f€\x07\x9b\r") == "a\tb\nc ü 日本 \u202f€"


def test_json_has_outputs_as_objects() -> None:
    document = render.answer_json(ANSWER)
    assert document["outputs"][0]["output"]["data"] == {"total": 3}
    assert document["receipt"]["tasks"][1]["cost_usd"] is None


def test_the_tree_shows_each_task_once_under_its_dependency() -> None:
    tasks = (
        PlannedTask(task_id="a", specialty="extraction", instruction=""),
        PlannedTask(task_id="b", specialty="synthesis", instruction="", depends_on=("a",)),
    )
    view = View(request_id="r1").after(Progress(request_id="r1", kind="planned", tasks=tasks, at=0))
    out = io.StringIO()
    Console(file=out, width=100).print(render.tree(view))
    lines = [x.rstrip() for x in out.getvalue().splitlines()]
    assert lines == ["r1", "└── · a  extraction", "    └── · b  synthesis"]


def test_events_are_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with render.watching("r1") as watch:
        watch(Progress(request_id="r1", kind="assigned", task_id="a", at=0))
        watch(ANSWER)
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["a: assigned", "answer: partial"]
    assert captured.out == ""


def test_text_is_shown_line_by_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    said = Progress(request_id="r1", kind="text", task_id="a", text="one\n\x1b[31mtwo", at=0)
    with render.watching("r1", texts=True) as watch:
        watch(said, [Change(task_id="a", start=0, text=said.text)])
        watch(Progress(request_id="r1", kind="completed", task_id="a", at=0))
    assert capsys.readouterr().err.splitlines() == ["a| one", "a| [31mtwo", "a: completed"]


def test_who_stops_in_the_middle_of_a_line_has_seen_all_that_the_token_is_behind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = Progress(request_id="r1", kind="text", task_id="a", text="half a li", at=0)
    with render.watching("r1", texts=True) as watch:
        watch(said, [Change(task_id="a", start=0, text=said.text)])
    assert capsys.readouterr().err.splitlines() == ["a| half a li"]


@pytest.mark.parametrize(("millis", "text"), [(None, ""), (7, "7 ms"), (1234, "1.2 s")])
def test_durations(millis: int | None, text: str) -> None:
    assert render.seconds(millis) == text


@pytest.mark.parametrize(("cost", "text"), [(None, "unknown"), (0.0, "$0"), (0.01234, "$0.0123")])
def test_costs(cost: float | None, text: str) -> None:
    assert render.dollars(cost) == text
