"""What `hocket schemas register|check` decides, without a registry."""

import copy
from typing import Any

from hocket.contracts.codec import schema
from hocket.contracts.subjects import LEVEL, NOTHING, SubjectState, decide, subjects
from hocket.contracts.topics import Topics


def changed(record: str, **field: Any) -> dict[str, Any]:
    """The schema with one field more."""
    found = copy.deepcopy(schema(record))
    found["fields"].append(field)
    return found


def state(*versions: Any, found: bool = False, level: str | None = LEVEL) -> SubjectState:
    return SubjectState(versions=dict(enumerate(versions, 1)), found=found, level=level)


def test_every_topic_has_one_subject_with_its_record() -> None:
    wanted = subjects(Topics("p-").all(["code"]))
    assert wanted["p-requests-value"] == "Request"
    assert wanted["p-tasks-code-value"] == wanted["p-tasks-planning-value"] == "Task"
    assert len(wanted) == len(Topics("p-").all(["code"]))


def test_a_new_subject_is_registered_and_gets_its_level() -> None:
    finding = decide("s", "Task", schema("Task"), NOTHING)
    assert (finding.action, finding.relevel) == ("register", True)


def test_what_is_there_is_left_but_a_weaker_level_is_raised() -> None:
    assert decide("s", "Task", schema("Task"), state(schema("Task"), found=True)).action == "current"
    weaker = decide("s", "Task", schema("Task"), state(schema("Task"), found=True, level="BACKWARD"))
    assert (weaker.action, weaker.relevel) == ("current", True)


def test_a_field_more_with_a_default_may_be_there_already() -> None:
    """As after a rollback: the registry knows a newer schema than this version."""
    newer = changed("Task", name="later", type="int", default=0)
    assert decide("s", "Task", schema("Task"), state(newer)).action == "register"


def test_a_field_without_a_default_is_refused_with_a_sentence_and_the_diff() -> None:
    older = schema("Task")
    breaking = changed("Task", name="later", type="int")
    finding = decide("s", "Task", breaking, state(older))
    assert finding.action == "refused"
    assert finding.faults == ("this version of Hocket cannot read version 1: later is not written, and has no default",)
    assert '+      "name": "later"' in finding.diff
    assert "--- version 1" in finding.diff


def test_every_version_counts_not_only_the_newest() -> None:
    odd = changed("Task", name="later", type="int")
    finding = decide("s", "Task", schema("Task"), state(odd, schema("Task")))
    assert finding.action == "refused"
    assert finding.faults == ("version 1 cannot read this version of Hocket: later is not written, and has no default",)


def test_a_fault_among_old_versions_alone_is_nobodys_business_here() -> None:
    a = changed("Task", name="x", type="int", default=0)
    b = changed("Task", name="x", type="string", default="")
    assert decide("s", "Task", schema("Task"), state(a, b)).action == "register"


def test_a_subject_that_something_else_uses_is_refused() -> None:
    finding = decide("s", "Task", schema("Task"), state(None))
    assert finding.action == "refused"
    assert "version 1 is no Avro schema" in finding.faults[0]
    other = decide("s", "Task", schema("Task"), state(schema("Plan")))
    assert any("was Plan and is read as Task" in fault for fault in other.faults)
