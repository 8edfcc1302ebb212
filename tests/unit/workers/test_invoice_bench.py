"""bench/invoices.py: the generator says what it prints, and the extractor keeps its figure on a handful."""

import pytest

from bench.invoice_facts import HOLD_OUT, SCORING, TRAINING, invent
from bench.invoice_pages import as_text, placed
from bench.invoices import misses, read


def test_the_sets_share_no_seed():
    assert not set(TRAINING) & set(SCORING)
    assert not set(HOLD_OUT) & (set(TRAINING) | set(SCORING))


@pytest.mark.parametrize("seed", range(14))
def test_what_is_true_is_printed(seed):
    facts = invent(seed)
    text = as_text(placed(facts))
    assert facts.vendor.name in text
    assert facts.number in text
    assert facts.iban in text
    assert facts.money(facts.net + facts.tax) in text
    assert invent(seed) == facts


def test_a_handful_is_read_as_well_as_the_bench_says():
    chosen = [facts for facts in map(invent, SCORING[1000:1060]) if facts.medium in ("text", "docx")]
    wrong = sum(len(misses(facts, read(facts))) for facts in chosen)
    assert len(chosen) > 10
    assert wrong <= 0.05 * sum(len(facts.truth()) for facts in chosen)


def test_an_unread_invoice_has_every_field_wrong():
    facts = invent(3)
    assert set(misses(facts, {})) == set(facts.truth())
