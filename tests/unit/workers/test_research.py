"""workers/research: quotes are verbatim, and stand where the citation says; what has none of the words is not found."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.work import BadInput, Document, Input, NeedsModel, Work
from services.workers.research.local import run
from services.workers.research.terms import asked_for, stem

CONTRACT = Path("examples/contract.pdf")


def work(question: str, *documents: Document, **more: Any) -> Work:
    return Work(task_id="r", specialty="research", instruction=question, documents=documents, **more)


def text(name: str, body: str) -> Document:
    return Document(name=name, media_type="text/plain", data=body.encode())


SOME = "notice period Kündigung Haftung liability. The total is Frist, le préavis! été\u00a0chaud x\ty 12,5 “so” ?"
WORDS = st.sampled_from(SOME.split(" "))
LINES = st.lists(WORDS, min_size=1, max_size=60).map(" ".join)
BODIES = st.lists(LINES, min_size=1, max_size=6).flatmap(
    lambda parts: st.lists(
        st.sampled_from(["\n", "\n\n", "\r\n", "\r\n\r\n", "\n \n\n"]), min_size=len(parts), max_size=len(parts)
    ).map(lambda gaps: "".join(p + g for p, g in zip(parts, gaps, strict=True)))
)


@given(bodies=st.lists(BODIES, min_size=1, max_size=3))
def test_every_quote_is_verbatim_and_where_its_citation_says(bodies: list[str]) -> None:
    documents = [text(f"{n}.txt", body) for n, body in enumerate(bodies)]
    try:
        found = run(work("notice period liability Kündigung préavis", *documents, options={"passages": 20}))
    except NeedsModel:
        assert not any(w in b for b in bodies for w in ("notice", "period", "liability", "Kündigung", "préavis"))
        return
    for passage in found["passages"]:
        body = documents[int(passage["document"].removesuffix(".txt"))].data.decode()
        assert passage["quote"] == body[passage["start"] : passage["end"]]
        assert passage["quote"] == passage["quote"].strip() != ""
        before = body[: passage["start"]]
        assert passage["paragraph"] == 1 + sum(
            1 for part in before.replace("\r\n", "\n").replace("\n \n", "\n\n").split("\n\n")[:-1] if part.strip()
        )


def test_a_pdf_is_cited_by_page_and_paragraph() -> None:
    document = Document(name="contract.pdf", media_type="application/pdf", data=CONTRACT.read_bytes())
    found = run(work("When can the agreement be terminated?", document))
    best = found["passages"][0]
    assert best["quote"].startswith("6. Termination. Either party may terminate this Agreement")
    assert (best["document"], best["page"]) == ("contract.pdf", 2)
    assert "(contract.pdf, page 2, paragraph" in found["text"]


def test_the_page_that_is_cited_is_the_page_of_the_pdf() -> None:
    from reportlab.pdfgen import canvas

    from hocket.documents.reading import read

    made = io.BytesIO()
    pdf = canvas.Canvas(made)
    for page in range(1, 6):
        pdf.drawString(72, 700, f"Page about nothing in particular, number {page}.")
        pdf.drawString(72, 600, "The warranty lasts for 24 months." if page == 4 else "The weather was fine all day.")
        pdf.showPage()
    pdf.save()
    document = Document(name="w.pdf", media_type="application/pdf", data=made.getvalue())
    (passage,) = run(work("How long is the warranty?", document))["passages"]
    assert (passage["page"], passage["paragraph"]) == (4, 2)
    assert (
        read(document)[0].text[passage["start"] : passage["end"]]
        == passage["quote"]
        == "The warranty lasts for 24 months."
    )


@pytest.mark.parametrize(
    ("question", "body", "language"),
    [
        ("What are the delivery costs?", "Pay now.\n\nThe cost of deliveries is 5 EUR.\n\nWe thank you for it.", "en"),
        (
            "Wie hoch sind die Lieferkosten und die Gebühr?",
            "Danke.\n\nDie Gebühren sind nicht hoch.\n\nSie ist da.",
            "de",
        ),
        ("Quel est le montant des pénalités ?", "Merci.\n\nLa pénalité est de 5 % du montant.\n\nIl est là.", "fr"),
    ],
)
def test_forms_of_a_word_meet_in_three_languages(question: str, body: str, language: str) -> None:
    found = run(work(question, text("a.txt", body)))
    assert found["language"] == language
    assert [p["quote"] for p in found["passages"]] == [body.split("\n\n")[1]]


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    body = " ".join(f"Sentence {n} speaks of many things at some length, as sentences do." for n in range(40))
    body = body.replace("Sentence 30 speaks", "Sentence 30, on indemnity, speaks")
    (passage,) = run(work("indemnity", text("a.txt", body)))["passages"]
    assert "Sentence 30, on indemnity" in passage["quote"]
    assert len(passage["quote"]) <= 600
    assert passage["quote"].endswith(".")
    assert passage["quote"].startswith("Sentence")


def test_a_heading_stands_with_what_it_heads() -> None:
    body = "# Offer\n\n## Delivery\n\nIt takes nine weeks.\n\n## Warranty\n\nIt lasts 12 months."
    found = run(work("delivery", text("a.md", body)))
    assert [(p["quote"], p["paragraph"]) for p in found["passages"]] == [
        ("# Offer\n\n## Delivery\n\nIt takes nine weeks.", 1)
    ]


def test_what_stands_nowhere_is_named() -> None:
    found = run(work("warranty and indemnity", text("a.txt", "The warranty is two years.")))
    assert found["missing"] == ["indemnity"]
    assert "Not found in any of them: indemnity" in found["text"]


def test_rare_words_weigh_more_than_common_ones() -> None:
    filler = "\n\n".join(f"The supplier sends part {n}." for n in range(20))
    found = run(work("supplier penalty", text("a.txt", f"{filler}\n\nThe supplier pays a penalty.")))
    assert found["passages"][0]["quote"] == "The supplier pays a penalty."


def test_the_texts_of_earlier_tasks_are_searched_when_there_is_no_document() -> None:
    given = Input(task_id="read", specialty="extraction", output={"text": "The rent is 900 EUR."})
    (passage,) = run(work("rent", inputs=(given,)))["passages"]
    assert (passage["document"], passage["quote"]) == ("read", "The rent is 900 EUR.")


def test_in_a_workflow_the_requests_text_is_the_question() -> None:
    document = text("a.txt", "The rent is 900 EUR.\n\nFind nothing.")
    found = run(work("Find what stands in the documents.", document, text="rent", workflow="document-research"))
    assert found["question"] == "rent"


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (work("What is the capital of France?"), NeedsModel, "none with text is attached"),
        (work("penguins", text("a.txt", "The rent is due.")), NeedsModel, "penguins"),
        (work("What is it?", text("a.txt", "The rent is due.")), BadInput, "no word that could be looked for"),
        (work("rent", text("a.txt", "The rent."), options={"passages": 0}), BadInput, "passages must be"),
        (work("rent", text("a.txt", "The rent."), options={"question": 3}), BadInput, "question must be a text"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(given: Work, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        run(given)


def test_stems() -> None:
    same = [
        ("en", ("policies", "policy")), ("en", ("terminated", "termination", "terminate")), ("en", ("running", "run")),
        ("de", ("kundigungen", "kundigung", "kundigen")), ("fr", ("journaux", "journal")), ("fr", ("delais", "delai")),
    ]  # fmt: skip
    assert [words for language, words in same if len({stem(w, language) for w in words}) != 1] == []
    assert stem("2026", "en") == "2026"
    assert asked_for("Does the contract have a notice period?", "en") == ["contract", "notice", "period"]


@pytest.mark.parametrize(
    ("question", "language", "asked"),
    [
        ("What do the offers say about delivery and warranty?", "en", ["delivery", "warranty"]),
        ("What does the contract say about the contract's end?", "en", ["end"]),
        ("What do the offers say?", "en", ["offers"]),
        ("Was sagen die Angebote zur Lieferung?", "de", ["lieferung"]),
        ("Was steht in den Verträgen über die Haftung?", "de", ["haftung"]),
        ("Que disent les offres sur la garantie ?", "fr", ["garantie"]),
    ],
)
def test_what_a_question_calls_the_documents_is_not_looked_for(question: str, language: str, asked: list[str]) -> None:
    assert asked_for(question, language) == asked


def test_the_example_is_answered_for_each_offer() -> None:
    offers = tuple(text(path.name, path.read_text("utf-8")) for path in sorted(Path("examples/offers").iterdir()))
    found = run(work("What do the offers say about delivery and warranty?", *offers, options={"passages": 8}))
    said = {(p["document"], w) for p in found["passages"] for w in ("deliver", "arranty") if w in p["quote"].lower()}
    assert said == {(offer.name, word) for offer in offers for word in ("deliver", "arranty")}
