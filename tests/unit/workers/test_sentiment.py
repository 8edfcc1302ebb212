"""services/workers/sentiment/local.py"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.specialties import load_specialties
from hocket.core.work import BadInput, Document, NeedsModel, Work
from services.workers.sentiment import meaning
from services.workers.sentiment.local import run
from tests.support import invoices


def of(text: str) -> dict:
    return run(Work(task_id="sentiment", specialty="sentiment", instruction="", text=text))


def test_the_complaint_is_very_negative_and_says_why():
    data = (invoices.ROOT / "examples" / "complaint.eml").read_bytes()
    document = Document(name="complaint.eml", media_type="message/rfc822", data=data)
    record = run(Work(task_id="s", specialty="sentiment", instruction="", documents=(document,)))
    assert (record["label"], record["intensity"], record["language"]) == ("negative", "high", "en")
    text = " ".join(data.decode().split())
    assert all(reason["text"] in text and reason["score"] < 0 for reason in record["reasons"])


def test_praise_is_positive():
    record = of("This is a wonderful machine and I love it. Thank you for the excellent service!")
    assert record["label"] == "positive"
    assert record["score"] > 0.5
    assert record["reasons"][0]["score"] > 0


def test_a_plain_statement_is_neutral():
    record = of("The meeting room is on the third floor.")
    assert (record["label"], record["intensity"]) == ("neutral", "low")
    assert abs(record["score"]) < 0.5


@pytest.mark.parametrize(
    ("text", "language", "label"),
    [
        ("Ich bin sehr enttäuscht von dem Gerät und möchte mein Geld zurück.", "de", "negative"),
        ("Ich bin mit der Arbeit nicht zufrieden.", "de", "negative"),
        ("Die Monteure waren freundlich, und das Ergebnis ist hervorragend.", "de", "positive"),
        ("Die Rechnung ist bis zum 3. Mai zu zahlen.", "de", "neutral"),
        ("Je suis très déçu par la machine et je demande le remboursement.", "fr", "negative"),
        ("Nous sommes très satisfaits de la machine et de votre service.", "fr", "positive"),
        ("La facture est payable le 3 mai par virement.", "fr", "neutral"),
    ],
)
def test_german_and_french_are_judged_by_their_own_words(text, language, label):
    record = of(text)
    assert (record["language"], record["label"]) == (language, label)
    assert all(reason["text"] in text for reason in record["reasons"])


def test_unknown_words_need_a_model():
    with pytest.raises(NeedsModel, match="English, German and French"):
        of("Dzień dobry, proszę czekać.")


def test_no_text_is_bad_input():
    with pytest.raises(BadInput):
        of("  ")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Nobody calls us back.", "negative"),
        ("I have been waiting for an answer for three weeks.", "negative"),
        ("Das ist nun das dritte Mal, dass die Lieferung fehlt.", "negative"),
        ("Seit drei Wochen warten wir auf die Gutschrift.", "negative"),
        ("Personne ne répond au téléphone.", "negative"),
        ("Nous attendons depuis trois semaines.", "negative"),
        ("It has run without any problem ever since.", "positive"),
        ("Vous ne nous avez jamais déçus.", "positive"),
        ("Wir wurden nicht enttäuscht.", "positive"),
    ],
)
def test_complaints_and_praise_without_a_single_telling_word_are_seen(text, label):
    assert of(text)["label"] == label


def test_a_complaint_in_plain_facts_is_seen_by_its_meaning():
    record = of("The washing machine floods the bathroom.")
    assert (record["label"], record["intensity"]) == ("negative", "low")
    assert of("I love it, it is excellent!")["confidence"] > load_specialties(None)["sentiment"].accept.least


def test_one_angry_sentence_is_not_calmed_by_plain_ones_and_is_the_reason():
    angry = "I am furious, this is the worst service I have ever had."
    plain = "The order number is 4471. It was placed on 3 May. The delivery address is 14 Mill Lane."
    record = of(f"{plain} {angry}")
    assert record["label"] == "negative"
    assert record["reasons"][0]["text"] == angry


def test_words_of_the_users_own_move_the_judgement(tmp_path, monkeypatch):
    text = "The delivery was quixotic."
    before = of(text)["score"]
    (tmp_path / "sentiment.toml").write_text("[en.words]\nquixotic = -4\n")
    monkeypatch.setenv("HOCKET_PATTERNS", str(tmp_path))
    assert of(text)["label"] == "negative"
    assert of(text)["score"] < before - 0.2


def test_where_the_embedding_does_not_run_the_lists_judge_and_doubt_themselves(monkeypatch):
    monkeypatch.setattr(meaning, "embedded", lambda _: None)
    routine = of("Please find attached the minutes of our meeting on 3 May.")
    assert (routine["label"], routine["confidence"]) == ("neutral", 0.85)
    plain_facts = of("The washing machine floods the bathroom.")
    assert plain_facts["label"] == "neutral", "lists of words do not see it"
    assert plain_facts["confidence"] < load_specialties(None)["sentiment"].accept.least, "so a model is asked"
    assert of("I love it, it is excellent!")["confidence"] > 0.9


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=5))
def test_shares_are_shares_however_they_are_moved(by):
    shares = meaning.shares_of(np.array([[0.2, -0.1, 1.3]] * len(by), dtype=np.float32))
    moved = meaning.moved(shares, by)
    assert np.allclose(moved.sum(1), 1, atol=1e-5)
    assert all((after[2] - before[2]) * push >= -1e-6 for before, after, push in zip(shares, moved, by, strict=True))


COMPLAINT = (invoices.ROOT / "examples" / "complaint.eml").read_text("utf-8")


@pytest.mark.parametrize(("text", "most"), [(COMPLAINT, 0), ("The box stands on the ramp since Monday. " * 40, 11)])
def test_a_long_mail_costs_no_second_of_cpu(monkeypatch, text, most):
    """Complaints of many sentences, all of them embedded, once kept the other engines of a host from their work."""
    asked = []
    monkeypatch.setattr(meaning, "embedded", asked.extend)
    of(text)
    assert len(asked) <= most
