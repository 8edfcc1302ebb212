# ruff: noqa: E501 - tables of data read better unbroken
"""services/workers/decision/local.py and rules.py"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.work import BadInput, Input, NeedsModel, Work
from services.workers.decision.local import run

FULL = {
    "total": 12_400.0,
    "currency": "EUR",
    "ids": [],
    "parties": ["Müller GmbH"],
    "vendor": "Müller GmbH",
    "text": "a Refund",
}


def decide(when: str, output: dict | None = None, **more) -> dict:
    rule = {"name": "r", "when": when, "then": "yes", "because": more.pop("because", "It is {{ extract.total }}.")}
    inputs = () if output is None else (Input(task_id="extract", specialty="extraction", output=output),)
    options = {"rules": [rule], "otherwise": {"then": "no", "because": "Nothing applied."}}
    return run(Work(task_id="decide", specialty="decision", instruction="", inputs=inputs, options=options, **more))


@pytest.mark.parametrize(
    "when",
    [
        'extract.total > 10000 and extract.currency == "EUR"',
        "extract.total > constants.limit",
        'extract.text =~~ "(?i)\\brefund\\b"',
        '"Müller GmbH" in extract.parties',
        'extract.vendor == "Müller GmbH"',
        "extract.vendor =~~ 'üller'",
        "not (extract.total < 5)",
        "extract.parties.length == 1",
        "(extract.nothing ?? 3) > 2",
        "extract.nothing == null",
        'text =~ "hello.*"',
        '$any([party for party in extract.parties if party =~~ "GmbH"])',
        "extract.nothing > 5 or extract.total > 5",
    ],
)
def test_conditions_that_hold(when):
    record = decide(when, FULL, constants={"limit": "10000"}, text="hello world")
    assert (record["decision"], record["rule"]) == ("yes", "r")


COMPARISONS = st.sampled_from(
    ["{} > 5", "{} < 5", "{} >= 5", '{} == "x"', "{} != 5", '{} =~ "x"', '{} !~ "x"', '"x" in {}', "{} + 1 > 0", "{}[0] == 1", "{}.deeper == 1", "{} / 2 > 1", "{} == {}", "{}.length > 0"]
)  # fmt: skip
PATHS = st.sampled_from(["extract.total", "extract.nothing", "nobody.total", "nobody", "extract.a.b.c"])


@given(COMPARISONS, PATHS)
def test_a_missing_value_makes_a_comparison_false_and_never_crashes(comparison, path):
    record = decide(comparison.format(path, path), {"total": None})
    assert record["decision"] == "no"
    assert record["rule"] is None
    assert any(name.startswith(path) for name in record["considered"][0]["missing"])


@given(
    st.recursive(
        COMPARISONS, lambda inner: st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join), max_leaves=5
    )
)
def test_false_stays_false_through_and_and_or(condition):
    paths = ["nobody.x"] * condition.count("{}")
    assert decide(condition.format(*paths), {})["decision"] == "no"


def test_the_first_rule_that_holds_decides_and_the_rest_is_not_asked():
    rules = [
        {"name": name, "when": when, "then": name}
        for name, when in (("a", "extract.total > 99999"), ("b", "true"), ("c", "true"))
    ]
    extract = Input(task_id="extract", specialty="extraction", output=FULL)
    record = run(Work(task_id="d", specialty="decision", instruction="", inputs=(extract,), options={"rules": rules}))
    assert record["decision"] == "b"
    assert [(item["rule"], item["fired"]) for item in record["considered"]] == [("a", False), ("b", True)]
    assert record["facts"] == {"extract.total": 12_400.0}
    assert record["because"] == "The rule b applied."


def test_the_reason_is_rendered_with_the_values():
    record = decide(
        "extract.total > 1", FULL, because="{{ extract.total | money(extract.currency) }}, {{ sentiment.label }}"
    )
    assert record["because"] == "12,400.00 EUR, not found"


def test_task_ids_with_hyphens_are_written_with_underscores():
    options = {"rules": [{"name": "r", "when": "read_it.total > 1", "then": "yes"}]}
    source = Input(task_id="read-it", specialty="extraction", output={"total": 2.0})
    assert (
        run(Work(task_id="d", specialty="decision", instruction="", inputs=(source,), options=options))["decision"]
        == "yes"
    )


def test_without_a_default_the_decision_is_null():
    options = {"rules": [{"name": "r", "when": "extract.total > 1", "then": "yes"}]}
    record = run(Work(task_id="d", specialty="decision", instruction="", options=options))
    assert (record["decision"], record["because"]) == (None, "No rule applied.")


@pytest.mark.parametrize(
    "when", ["extract.total >", "((", "$now > 5", 'extract.vendor =~ "("', "extract.currency > 5", "1 / 0 > 2", ""]
)
def test_a_rule_that_cannot_work_is_bad_input_and_is_named(when):
    with pytest.raises(BadInput, match="'r'"):
        decide(when, FULL)


@pytest.mark.parametrize("rules", ["x", [{"when": "true"}], [{"then": "x"}], [7]])
def test_rules_of_the_wrong_shape_are_bad_input(rules):
    with pytest.raises(BadInput):
        run(Work(task_id="d", specialty="decision", instruction="", options={"rules": rules}))


def test_without_rules_a_model_is_needed():
    with pytest.raises(NeedsModel):
        run(Work(task_id="d", specialty="decision", instruction="Is this fair?"))
