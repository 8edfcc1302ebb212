"""Declared workflows: what a file may say, every fault named, and which one fits an unnamed request."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.records import Attachment, Request
from hocket.contracts.specialties import load_specialties
from hocket.contracts.workflows import (
    Match,
    Step,
    Workflow,
    WorkflowError,
    best_match,
    expand,
    load_workflows,
    matches,
    parse_workflow,
)
from hocket.core.condition import holds
from hocket.core.plan import PlanLimits, faults

SPECIALTIES = {"extraction", "decision", "synthesis"}
TEXT = """
name: claims
description: Handle a claim.
match: {media_types: [image/*], words: [claim]}
tasks:
  - {id: read, specialty: extraction, instruction: Read it.}
  - {id: decide, specialty: decision, instruction: Decide., needs: [read], priority: 9, with: {b: 1, a: [2]}}
  - {id: note, specialty: synthesis, instruction: Write., needs: [decide], optional: true}
output: note
"""


def test_a_workflow_expands_to_a_plan() -> None:
    tasks = expand(parse_workflow(TEXT, "claims.yaml", SPECIALTIES), priority=3)
    assert [(t.task_id, t.specialty, t.depends_on, t.priority, t.optional, t.options) for t in tasks] == [
        ("read", "extraction", (), 3, False, "{}"),
        ("decide", "decision", ("read",), 9, False, '{"a":[2],"b":1}'),
        ("note", "synthesis", ("decide",), 3, True, "{}"),
    ]


WRONG = [
    ("[", "not YAML"),
    ("", "valid dictionary"),
    ("- a\n- b", "valid dictionary"),
    (TEXT.replace("output: note", "output: nothing"), "output task 'nothing' is not in the plan"),
    (TEXT.replace("output: note", ""), "output: Field required"),
    (TEXT.replace("needs: [read]", "needs: [reed]"), "depends on 'reed', which is not in the plan"),
    (TEXT.replace("needs: [read]", "needs: [note]"), "wait for each other in a circle: decide, note"),
    (TEXT.replace("specialty: decision", "specialty: divination"), "unknown specialty 'divination'"),
    (TEXT.replace("id: decide", "id: read"), "two tasks are called 'read'"),
    (TEXT.replace("priority: 9", "priority: 10"), r"tasks\.1\.priority \(line 7\): "),
    (TEXT.replace("id: read", "id: Read It"), r"tasks\.0\.id \(line 6\): "),
    (TEXT.replace("description", "summary"), r"summary \(line 3\): Extra inputs"),
    (TEXT.replace("b: 1", "b: !!set {x}"), "`with` and `when` must be what JSON can hold"),
    (TEXT.replace("name: claims", "name: Claims"), r"name \(line 2\): String should match"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_wrong_file_is_named_with_its_faults(text: str, said: str) -> None:
    with pytest.raises(WorkflowError, match=said) as caught:
        parse_workflow(text, "claims.yaml", SPECIALTIES)
    assert str(caught.value).startswith("claims.yaml: ")


@pytest.mark.parametrize("name", ["invoice-intake", "complaint-triage", "document-brief"])
def test_the_shipped_workflows_are_sound(name: str) -> None:
    specialties = load_specialties()
    found = load_workflows(specialties)[name]
    assert faults(expand(found, 5), found.output, specialties, PlanLimits()) == []
    assert found.description.endswith(".")


def test_own_workflows_stand_beside_the_shipped_ones_and_may_replace_them(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEXT)
    (tmp_path / "b.yaml").write_text(TEXT.replace("name: claims", "name: document-brief"))
    found = load_workflows(load_specialties(), tmp_path)
    assert set(load_workflows(load_specialties())) | {"claims"} == set(found)
    assert found["document-brief"].description == "Handle a claim."


def test_a_folder_of_workflows_that_is_not_there_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match="HOCKET_WORKFLOWS"):
        load_workflows(load_specialties(), tmp_path / "nowhere")


def workflow(name: str, *words: str, media: tuple[str, ...] = ()) -> Workflow:
    step = Step(id="a", specialty="extraction", instruction="Read.")
    rule = Match(media_types=media, words=words)
    return Workflow(name=name, description="", match=rule, tasks=(step,), output="a")


def request(text: str, *attached: tuple[str, str]) -> Request:
    documents = tuple(Attachment(name=n, media_type=m, data=b"x") for n, m in attached)
    return Request(request_id="r", text=text, attachments=documents, submitted_at=1)


@pytest.mark.parametrize(
    ("rule", "text", "types", "score"),
    [
        (workflow("w", "invoice"), "an INVOICE and another invoice", [], 2),
        (workflow("w", "invoice", "total"), "the invoice's total", [], 3),
        (workflow("w", "invoice"), "a complaint", [], 0),
        (workflow("w", "invoice", media=("image/*",)), "an invoice", ["image/png"], 2),
        (workflow("w", "invoice", media=("image/*",)), "an invoice", ["text/plain"], 0),
        (workflow("w", media=("image/*",)), "", ["text/plain", "image/png"], 1),
        (workflow("w").model_copy(update={"match": None}), "anything", ["image/png"], 0),
    ],
)
def test_how_well_a_request_fits(rule: Workflow, text: str, types: list[str], score: int) -> None:
    assert matches(rule, text, types) == score


def test_the_best_match_wins_and_names_of_attachments_count() -> None:
    found = [workflow("invoices", "invoice"), workflow("bills", "invoice", "bill")]
    best = best_match(found, request("please check", ("invoice-bill.png", "image/png")))
    assert best is not None
    assert best.name == "bills"


def test_a_tie_is_no_match() -> None:
    assert best_match([workflow("a", "x"), workflow("b", "x")], request("x")) is None


def test_nothing_fits() -> None:
    assert best_match([workflow("a", "x")], request("y")) is None
    assert best_match([], request("y")) is None


@given(st.text(max_size=200))
def test_any_text_is_a_workflow_or_a_workflow_error(text: str) -> None:
    try:
        found: object = parse_workflow(text, "x.yaml", SPECIALTIES)
    except WorkflowError as e:
        found = e
    assert isinstance(found, (Workflow, WorkflowError))


FULL = """
name: payout
description: Pay out.
tasks:
  - {id: read, specialty: extraction, instruction: Read it.}
  - {id: decide, specialty: decision, instruction: Decide., needs: [read], strategy: best}
  - id: release
    when: {task: decide, field: decision, equals: ask}
    approve: {what: Pay this, who: accounts payable, timeout_seconds: 3600}
  - id: letter
    specialty: synthesis
    instruction: Write the letter.
    needs: [release]
    when: {any: [{task: release, field: decision, equals: approved}, {task: decide, field: decision, equals: pay}]}
    optional: true
  - {id: note, specialty: synthesis, instruction: Note it., needs: [decide, letter]}
output: note
"""


def test_conditions_approvals_and_strategies_become_part_of_the_plan() -> None:
    tasks = {t.task_id: t for t in expand(parse_workflow(FULL, "p.yaml", SPECIALTIES), 5)}
    release, letter = tasks["release"], tasks["letter"]
    assert (release.kind, release.specialty, release.instruction) == ("approval", "approval", "Pay this")
    assert release.options == '{"on_timeout":"reject","timeout_ms":3600000,"who":"accounts payable"}'
    assert release.depends_on == ("decide",), "a step waits for the steps that its condition reads"
    assert letter.depends_on == ("release", "decide")
    assert [tasks[i].strategy for i in ("read", "decide")] == [None, "best"]
    assert holds(release.condition, {"decide": {"decision": "ask"}})
    assert not holds(release.condition, {"decide": {"decision": "pay"}})


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("equals: ask}", "matches: ask}", r"tasks\.2 \(line 7\): .*unknown operator matches"),
        ("{task: decide, field: decision, equals: ask}", "{field: x, equals: 1}", "`task` is missing"),
        ("{task: decide, field: decision, equals: ask}", "{task: dec, field: x, exists: true}", "'dec', which is not"),
        ("strategy: best", "strategy: cheapest", r"tasks\.1\.strategy \(line 6\): "),
        ("timeout_seconds: 3600", "timeout_seconds: 0", r"tasks\.2\.approve\.timeout_seconds \(line 9\): "),
        ("approve: {what: Pay this, ", "approve: {", r"tasks\.2\.approve\.what \(line 9\): Field required"),
        ("specialty: synthesis\n", "approve: {what: Well}\n", "it has no instruction"),
        ("instruction: Read it.", "optional: false", r"tasks\.0 \(line 5\): .*needs instruction"),
        ("output: note", "output: letter", "'letter' has a condition"),
        ("output: note", "output: release", "is an approval, which writes no answer"),
    ],
)
def test_a_fault_is_told_with_its_line(before: str, after: str, said: str) -> None:
    assert before in FULL
    with pytest.raises(WorkflowError, match=said):
        parse_workflow(FULL.replace(before, after), "p.yaml", SPECIALTIES)


def test_the_example_of_the_howto_is_sound() -> None:
    page = (Path(__file__).parents[3] / "docs" / "howto" / "workflows.md").read_text("utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    found = parse_workflow(example, "workflows.md", SPECIALTIES)
    assert [s.id for s in found.tasks if s.approve] == ["release"]
