"""How many dates, amounts, IBANs and phone numbers of invented mails are read right: `python -m bench.mails`.

A kind's share is right values / (true values + values found that are none), so inventing costs as much as missing.
Misses of the training seeds are printed; those of the scoring seeds are counted by kind only, so that nobody mends the
extractor by looking at them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from typing import Any

from bench.conditions import mark
from bench.mail_texts import SCORING, TRAINING, Mail, invent
from hocket.core.work import Document, Work
from services.workers.extraction.local import run

FLOOR = 0.95
SETS = {"training": TRAINING, "scoring": SCORING}


def found_in(mail: Mail) -> dict[str, set[str]]:
    """What the local engine reads, written as the truth is."""
    document = Document(name="mail.eml", media_type="message/rfc822", data=mail.data)
    record: dict[str, Any] = run(Work(task_id="m", specialty="extraction", instruction="", documents=(document,)))
    return {
        "date": set(record["dates"]),
        "amount": {f"{money['value']:.2f} {money['currency']}" for money in record["amounts"]},
        "iban": set(record["ibans"]),
        "phone": {re.sub(r"\D", "", phone) for phone in record["phones"]},
    }


def measure(mails: list[Mail], *, show: bool) -> dict[str, float]:
    """Reads, prints, and returns the share of each kind."""
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    misses: Counter[str] = Counter()
    for mail in mails:
        found = found_in(mail)
        for kind, true in mail.truth.items():
            for group in (kind, f"{kind} {mail.language}", f"{kind} {mail.shape.split(',')[0]}"):
                right[group] += len(true & found[kind])
                asked[group] += len(true | found[kind])
            misses[f"{kind}: not found"] += len(true - found[kind])
            misses[f"{kind}: invented"] += len(found[kind] - true)
            if show and true != found[kind]:
                print(mail.seed, mail.language, mail.shape, kind, "missed", true - found[kind], "invented", found[kind] - true)  # fmt: skip  # noqa: E501
    for group in sorted(asked):
        print(f"  {group:14} {right[group]:5}/{asked[group]:<5} {right[group] / max(1, asked[group]):7.1%}")
    print("misses by kind:", "; ".join(f"{kind} {n}" for kind, n in misses.most_common() if n) or "none")
    return {kind: right[kind] / asked[kind] for kind in ("date", "amount", "iban", "phone")}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.mails", description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--set", choices=SETS, default="scoring")
    given = parser.parse_args()
    seeds = SETS[given.set][: given.count]
    shares = measure([invent(seed) for seed in seeds], show=given.set == "training")
    for kind, share in shares.items():
        print(f"{share:.1%} of {kind}s of {len(seeds)} mails ({given.set}); floor {FLOOR:.0%}: {mark(share, FLOOR)}")
    sys.exit(0 if min(shares.values()) >= FLOOR else 1)


if __name__ == "__main__":
    main()
