"""Conditions on earlier outputs: every operator, what is missing, and everything that cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.condition import MAX_CHARS, MAX_CLAUSES, OPERATORS, faults, holds, renamed, tasks_read

OUTPUTS: dict[str, dict[str, Any] | None] = {
    "decide": {
        "decision": "approve",
        "score": 0.5,
        "sure": True,
        "rules": ["a", "b"],
        "by": {"name": "Ada"},
        "note": None,
    },
    "failed": None,
}


def when(**clause: Any) -> str:
    return json.dumps({"task": "decide", "field": "decision"} | clause)


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ({"equals": "approve"}, True),
        ({"equals": "Approve"}, False),
        ({"not_equals": "reject"}, True),
        ({"not_equals": "approve"}, False),
        ({"in": ["approve", "pay"]}, True),
        ({"in": ["pay"]}, False),
        ({"not_in": ["pay"]}, True),
        ({"contains": "ppr"}, True),
        ({"field": "rules", "contains": "b"}, True),
        ({"field": "rules", "contains": "c"}, False),
        ({"field": "rules.1", "equals": "b"}, True),
        ({"field": "rules.7", "exists": True}, False),
        ({"field": "by.name", "equals": "Ada"}, True),
        ({"field": "score", "above": 0.4}, True),
        ({"field": "score", "above": 0.5}, False),
        ({"field": "score", "at_least": 0.5}, True),
        ({"field": "score", "below": 1}, True),
        ({"field": "score", "at_most": 0.4}, False),
        ({"field": "sure", "equals": True}, True),
        ({"field": "sure", "equals": 1}, False),
        ({"field": "sure", "above": 0}, False),
        ({"field": "decision", "above": 0}, False),
        ({"exists": True}, True),
        ({"exists": False}, False),
        ({"field": "note", "exists": False}, True),
        ({"field": "nothing", "exists": False}, True),
        ({"task": "failed", "exists": False}, True),
        ({"task": "unheard_of", "exists": True}, False),
    ],
)
def test_operators(clause: dict[str, Any], expected: bool) -> None:
    assert faults(when(**clause)) == []
    assert holds(when(**clause), OUTPUTS) is expected


@pytest.mark.parametrize("operator", [o for o in OPERATORS if o != "exists"])
@pytest.mark.parametrize(
    ("task", "name"), [("failed", "decision"), ("gone", "decision"), ("decide", "gone"), ("decide", "note")]
)
def test_what_is_missing_makes_every_comparison_false(operator: str, task: str, name: str) -> None:
    operand: Any = ["x"] if operator.endswith("in") else 1
    condition = json.dumps({"task": task, "field": name, operator: operand})
    assert faults(condition) == []
    assert holds(condition, OUTPUTS) is False


def test_groups_join_conditions() -> None:
    yes, no = json.loads(when(equals="approve")), json.loads(when(equals="reject"))
    assert holds(json.dumps({"all": [yes, yes]}), OUTPUTS)
    assert not holds(json.dumps({"all": [yes, no]}), OUTPUTS)
    assert holds(json.dumps({"any": [no, {"all": [yes]}]}), OUTPUTS)
    assert not holds(json.dumps({"any": [no]}), OUTPUTS)


def test_no_condition_always_holds() -> None:
    assert holds(None, {})
    assert faults(None) == []


@pytest.mark.parametrize(
    ("condition", "part"),
    [
        ("", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ("{" * 5_000, "characters"),
        ("{}", "`task` is missing"),
        (when(), "one operator is needed, there are 0"),
        (when(equals=1, above=2), "one operator is needed, there are 2"),
        (when(matches="x"), "unknown operator matches"),
        (when(above="x"), "when.above: must be a number"),
        (when(exists="yes"), "true or false"),
        (when(equals=None), "`exists`"),
        (when(**{"in": []}), "one at least"),
        (when(**{"in": "pay"}), "must be a list"),
        (json.dumps({"all": []}), "one at least"),
        (json.dumps({"all": [{"task": "a", "field": "b", "equals": 1}], "any": []}), "stands alone"),
        (json.dumps({"all": [{"any": [{"all": [{"any": [1]}]}]}]}), "nested deeper"),
        (json.dumps({"any": ["x"]}), "when.any.0: must be a mapping"),
        (json.dumps({"any": [{"task": "a", "field": "b", "equals": 1}] * (MAX_CLAUSES + 1)}), "comparisons"),
        ('{"task": "decide", "field": "score", "below": Infinity}', "must be a number"),
    ],
)
def test_a_condition_that_cannot_be_read_says_where_and_never_holds(condition: str, part: str) -> None:
    assert part in "; ".join(faults(condition))
    assert holds(condition, OUTPUTS) is False
    assert tasks_read(condition) == ()
    assert renamed(condition, {"decide": "x"}) == condition


def test_the_tasks_that_it_reads_can_be_listed_and_renamed() -> None:
    condition = json.dumps(
        {"any": [{"task": "b", "field": "x", "equals": 1}, {"task": "a", "field": "x", "exists": True}]}
    )
    assert tasks_read(condition) == ("b", "a")
    assert tasks_read(renamed(condition, {"a": "a-r1"})) == ("b", "a-r1")
    assert tasks_read(None) == ()
    assert renamed(None, {}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*OPERATORS, "all", "any", "task", "field", "x"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(condition=JSON.map(json.dumps) | st.text(max_size=60), output=JSON)
def test_nothing_makes_it_raise_and_only_a_sound_condition_holds(condition: str, output: Any) -> None:
    outputs = {"": output, "x": output if isinstance(output, dict) else None}
    found = holds(condition, outputs)
    assert found in (True, False)
    assert len(condition) <= MAX_CHARS
    if found:
        assert faults(condition) == []
