# ruff: noqa: E501 - tables and drawings read better unbroken
"""How many fields of invented invoices are read right: `python -m bench.invoices [--count N] [--set training|scoring|holdout]`.

Prints the share per field, per medium, per layout and per language, and every miss of the training set. The misses
of the scoring set are counted by kind only, so that nobody mends the extractor by looking at them.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from typing import Any

from bench.conditions import conditions, mark
from bench.invoice_facts import HOLD_OUT, SCORING, TRAINING, Facts, invent
from bench.invoice_pages import document_of
from hocket.core.work import BadInput, Work
from services.workers.extraction.local import run

FLOOR = 0.95
SETS = {"training": TRAINING, "scoring": SCORING, "holdout": HOLD_OUT}


def read(facts: Facts) -> dict[str, Any]:
    """What the local engine reads; an invoice it refuses has no field."""
    work = Work(task_id="e", specialty="extraction", instruction="", documents=(document_of(facts),))
    try:
        return run(work)
    except BadInput:
        return {}


def misses(facts: Facts, record: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Field to (true value, what was read)."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, value in facts.truth().items():
        got: Any = record.get(name)
        if name == "iban":
            right, got = value in record.get("ibans", []), record.get("ibans")
        elif name == "phone":
            right, got = value in [re.sub(r"\D", "", p) for p in record.get("phones", [])], record.get("phones")
        elif name == "order":
            got = [i["value"] for i in record.get("ids", []) if i["label"] == "order"]
            right = value in got
        else:
            right = got == value
        if not right:
            found[name] = (value, got)
    return found


def kind_of(name: str, true: Any, got: Any) -> str:
    """How a field was missed: not found, cut or glued, or another value taken for it."""
    if got in (None, [], ""):
        return f"{name}: not found"
    if isinstance(true, str) and isinstance(got, str):
        squeezed = [re.sub(r"\W", "", one).lower() for one in (true, got)]
        if squeezed[0] == squeezed[1] or squeezed[0] in squeezed[1] or squeezed[1] in squeezed[0]:
            return f"{name}: cut, glued or misspelt"
    return f"{name}: another value"


def measure(seeds: list[int], *, show: bool, media: tuple[str, ...] = ()) -> float:
    """Reads and scores; prints; returns the share of right fields."""
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    perfect = read_count = 0
    began = time.monotonic()
    for seed in seeds:
        facts = invent(seed)
        if media and facts.medium not in media:
            continue
        wrong = misses(facts, read(facts))
        read_count += 1
        perfect += not wrong
        for name in facts.truth():
            groups = (name, f"medium {facts.medium}", f"layout {facts.layout}", f"language {facts.language}", "all")
            asked.update(groups)
            right.update(groups if name not in wrong else ())
        kinds.update(kind_of(name, *pair) for name, pair in wrong.items())
        if show and wrong:
            print(seed, facts.language, facts.layout, facts.medium, wrong)
    for group in asked:
        print(f"  {group:22} {right[group]:5}/{asked[group]:<5} {right[group] / asked[group]:7.1%}")
    print("misses by kind:", "; ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "none")
    share = right["all"] / max(1, asked["all"])
    took = time.monotonic() - began
    print(f"{share:.2%} of fields of {read_count} invoices ({perfect} without a miss) in {took:.0f} s; floor {FLOOR:.0%}: {mark(share, FLOOR)}")  # fmt: skip
    return share


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.invoices")
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--start", type=int, default=0, help="skip so many seeds of the set")
    parser.add_argument("--set", choices=SETS, default="scoring")
    parser.add_argument("--media", default="", help="only these, comma-separated: text,pdf,docx,scan,scanned pdf")
    given = parser.parse_args()
    seeds = list(SETS[given.set][given.start : given.start + given.count])
    print(conditions(set=given.set, invoices=len(seeds), seeds=f"{seeds[0]} to {seeds[-1]}"))
    media = tuple(m.strip() for m in given.media.split(",") if m.strip())
    share = measure(seeds, show=given.set == "training", media=media)
    sys.exit(0 if share >= FLOOR else 1)


if __name__ == "__main__":
    main()
