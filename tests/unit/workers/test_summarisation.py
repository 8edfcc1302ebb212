"""services/workers/summarisation/local.py and libs/hocket/documents/sentences.py"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.work import BadInput, Document, Input, Work
from hocket.documents.sentences import sentences
from services.workers.summarisation.local import run
from tests.support import invoices


def of(text: str = "", **options) -> dict:
    return run(Work(task_id="summary", specialty="summarisation", instruction="", text=text, options=options))


def of_example(name: str, **options) -> dict:
    data = (invoices.ROOT / "examples" / name).read_bytes()
    document = Document(name=name, media_type="", data=data)
    return run(Work(task_id="s", specialty="summarisation", instruction="", documents=(document,), options=options))


WORDS = st.lists(
    st.sampled_from(
        [
            "the",
            "pump",
            "failed",
            "again",
            "after",
            "Dr.",
            "Smith",
            "wrote",
            "on",
            "14.",
            "November",
            "z.B.",
            "e.g.",
            "to",
            "us",
        ]
    ),
    min_size=1,
)


@given(st.lists(WORDS, min_size=1, max_size=30), st.integers(min_value=1, max_value=6))
def test_every_sentence_of_a_summary_is_verbatim_in_the_source(lines, count):
    text = " ".join(" ".join(words).capitalize() + "." for words in lines)
    record = of(text, sentences=count)
    assert 1 <= len(record["sentences"]) <= count
    assert [item["position"] for item in record["sentences"]] == sorted(
        item["position"] for item in record["sentences"]
    )
    for item in record["sentences"]:
        assert item["text"] in " ".join(text.split())


def test_the_complaint_is_summarised_by_its_body():
    record = of_example("complaint.eml")
    assert "refund" in record["summary"]
    assert "From:" not in record["summary"]
    assert record["language"] == "en"
    assert record["of"] == "complaint.eml"


def test_the_output_of_an_extraction_goes_before_documents():
    source = Input(
        task_id="extract", specialty="extraction", output={"text": "Subject: Hi\n\nThe pump of our machine is broken."}
    )
    record = run(Work(task_id="s", specialty="summarisation", instruction="", text="other", inputs=(source,)))
    assert record["summary"] == "The pump of our machine is broken."


def test_a_limit_of_words_is_kept_once_there_is_a_sentence():
    record = of_example("contract.pdf", sentences=10, max_words=60)
    assert len(record["summary"].split()) <= 60


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith paid approx. 5.50 EUR. He left.", ["Dr. Smith paid approx. 5.50 EUR.", "He left."]),
        ("Am 14. November kam z.B. Herr Weiß. Er blieb.", ["Am 14. November kam z.B. Herr Weiß.", "Er blieb."]),
        ("M. Dupont est venu. Mme. Roy aussi !", ["M. Dupont est venu.", "Mme. Roy aussi !"]),
        ('Really? Yes! "No." He left', ["Really?", "Yes!", '"No."', "He left"]),
        ("- one thing\n- another thing", ["- one thing", "- another thing"]),
        ("1. Services. We clean.", ["1. Services.", "We clean."]),
    ],
)  # fmt: skip
def test_sentences_end_where_a_reader_ends_them(text, expected):
    assert sentences(text) == expected


@pytest.mark.parametrize("text", ["", "  \n\t ", "...", "--- !!!"])
def test_nothing_to_summarise_is_bad_input(text):
    with pytest.raises(BadInput):
        of(text)


@pytest.mark.parametrize("option", [{"sentences": 0}, {"sentences": "many"}, {"max_words": -1}])
def test_options_that_make_no_sense_are_bad_input(option):
    with pytest.raises(BadInput, match=next(iter(option))):
        of("A sentence is here.", **option)


@given(st.text(max_size=300))
def test_any_text_is_summarised_or_refused(text):
    try:
        record = of(text)
    except BadInput:
        return
    assert record["summary"]


def test_a_number_of_words_alone_is_used_up():
    sentences = [f"Plant {name} reported {n} new orders for pumps in the spring." for n, name in enumerate("ABCDEFGH")]
    source = " ".join(f"{s} {other}" for s, other in zip(sentences, reversed(_OTHERS), strict=True))
    work = Work(task_id="s", specialty="summarisation", instruction="", text=source, options={"max_words": 60})
    record = run(work)
    assert 40 < len(record["summary"].split()) <= 60


_OTHERS = (
    "The roof of the hall was mended before winter came.",
    "Customers asked twice for shorter terms of delivery.",
    "A second crane will stand at the harbour next year.",
    "Prices of steel fell by a tenth since January.",
    "Nobody was hurt when the old chimney was taken down.",
    "The board meets in Leeds on the first of June.",
    "Training for welders starts again after the holidays.",
    "Exports to Norway doubled within the last quarter.",
)
