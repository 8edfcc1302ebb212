# ruff: noqa: E501 - tables of data read better unbroken
"""services/workers/synthesis/local.py and services/workers/templates.py"""

import pytest

from hocket.core.work import BadInput, Input, NeedsModel, Work
from services.workers.synthesis.local import run

EXTRACT = Input(
    task_id="extract",
    specialty="extraction",
    output={"total": 1234.5, "currency": "EUR", "due_date": "2026-11-14", "vendor": None, "text": "Full text"},
)
SUMMARY = Input(task_id="summary", specialty="summarisation", output={"summary": "In short.", "sentences": []})
SENTIMENT = Input(task_id="feeling", specialty="sentiment", output={"label": "negative"})


def fill(template, *inputs: Input, **more) -> dict:
    return run(
        Work(
            task_id="s",
            specialty="synthesis",
            instruction="",
            inputs=inputs or (EXTRACT,),
            options={"template": template},
            **more,
        )
    )


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ extract.total | money(extract.currency) }}", "1,234.50 EUR"),
        ("{{ extract.total | money('EUR', 'de') }}", "1.234,50 EUR"),
        ("{{ extract.due_date | date }}, {{ extract.due_date | date('iso') }}", "14 November 2026, 2026-11-14"),
        (
            "{{ extract.vendor }} {{ extract.vendor | money }} {{ extract.vendor | date }}",
            "not found not found not found",
        ),
        (
            "{{ sentiment.label }} {{ sentiment.reasons[0].text }} {{ sentiment.x | money }}",
            "not found not found not found",
        ),
        ("{% if sentiment.label == 'negative' %}a{% else %}b{% endif %}", "b"),
        ("{% for reason in sentiment.reasons %}x{% endfor %}none", "none"),
        ("{{ constants.desk }}: {{ text }}", "A: hello"),
    ],
)
def test_templates(template, text):
    assert fill(template, constants={"desk": "A"}, text="hello")["text"] == text


@pytest.mark.parametrize(
    "template",
    ["{{ extract.totl }}", "{{ extract", "{% for %}", "{{ ''.__class__.__mro__ }}", "{{ text | nofilter }}", "{{ 1 / 0 }}",
     "{{ text | money }}", "{{ text | date }}", "{{ extract.total | money('EUR', 'xx') }}", "{% for a in 'x' * 300000 %}{{ a }}{% endfor %}", "", 7],
)  # fmt: skip
def test_a_template_that_cannot_be_filled_in_is_bad_input(template):
    with pytest.raises(BadInput):
        fill(template)


def test_the_sources_are_the_tasks_the_template_uses():
    assert fill("{{ summary.summary }}", EXTRACT, SUMMARY)["sources"] == ["summary"]


def test_the_conditions_of_a_template_do_not_run_code():
    with pytest.raises(BadInput):
        fill("{{ extract.__class__.__base__.__subclasses__() }}")


def joined(*inputs: Input) -> dict:
    return run(Work(task_id="s", specialty="synthesis", instruction="Write it up.", inputs=inputs))


def test_without_a_template_texts_under_their_task_ids_are_what_there_is_without_a_model():
    with pytest.raises(NeedsModel) as raised:
        joined(EXTRACT, SUMMARY, SENTIMENT)
    record = raised.value.instead
    assert record is not None
    assert record["text"] == "## extract\n\nFull text\n\n## summary\n\nIn short.\n\n## feeling\n\nnegative"
    assert record["sources"] == ["extract", "summary", "feeling"]


def test_one_text_is_the_answer_itself():
    assert joined(SUMMARY) == {"text": "In short.", "sources": ["summary"]}


@pytest.mark.parametrize("inputs", [(), (SUMMARY, Input(task_id="x", specialty="table", output={"rows": 3}))])
def test_prose_from_open_parts_needs_a_model(inputs):
    with pytest.raises(NeedsModel) as raised:
        joined(*inputs)
    assert raised.value.instead is None


def test_results_of_earlier_requests_can_be_named_and_may_be_missing():
    template = "Then: {{ earlier.decision }}. Never: {{ earlier.writing }}."
    work = Work(
        task_id="a", specialty="synthesis", instruction="-", options={"template": template},
        earlier={"decision": "pay"},
    )  # fmt: skip
    assert run(work)["text"] == "Then: pay. Never: not found."
