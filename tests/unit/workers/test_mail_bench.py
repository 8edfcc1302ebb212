"""bench/mail_texts.py and what the extractor reads of it: a short run on training seeds."""

from bench.mail_texts import TRAINING, invent
from bench.mails import found_in, measure
from services.workers.extraction.values import is_iban


def test_the_same_seed_gives_the_same_mail_and_its_ibans_have_right_check_digits():
    assert invent(7) == invent(7)
    codes = {code for seed in TRAINING[:60] for code in invent(seed).truth["iban"]}
    assert codes
    assert all(is_iban(code) for code in codes)


def test_every_kind_is_read_from_mails_of_the_training_seeds():
    shares = measure([invent(seed) for seed in TRAINING[:40]], show=False)
    assert min(shares.values()) >= 0.95, shares


def test_pieces_of_an_iban_and_zero_padded_codes_are_no_phones():
    [mail] = [invent(seed) for seed in (29,)]
    assert mail.truth["iban"]
    assert found_in(mail)["phone"] == mail.truth["phone"]
