"""How often the local sentiment engine is right: `python -m bench.sentiment`.

All written by hand. `sentiment.tsv` (a hash of each sentence makes it `training` or `scoring`) and
`sentiment-fresh.tsv` were seen by those who grew the lists, and `bench.sentiment_train` learns from them: their figures
say nothing.
`sentiment-blind.tsv` (303 short mails, a third of each language, positive, negative and neutral) was written after the
lists had been committed. It is what the engine is held to: FLOOR.
`sentiment-blind2.tsv` (305 lines of reviews, tickets, chats, practice, school and more, with irony and mixed feelings)
was written before the embedding came, by the hand that then wrote the training texts. It is harder than what the engine
is for, and no floor was ever met on it: its figure is reported, and may not fall below BOUND.
Nobody may learn or choose anything by the two, and their misses are counted by kind, but not shown.
Once somebody has read the misses of one, it is `fresh`, and a new blind file is due.
Exits with 1 if `blind` is below the floor or `blind2` below its bound.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bench.conditions import mark
from hocket.contracts.specialties import load_specialties
from hocket.core.work import NeedsModel, Work
from services.workers.sentiment.local import run

FLOOR = 0.85
BOUND = 0.70
"""What the harder file had (74.1 %) less what a change elsewhere may cost: to fall below it is a fault, to be above it
no merit."""
SURE = load_specialties(None)["sentiment"].accept.least
"""Below it the worker asks a model, if it has one."""
DATA = Path(__file__).with_name("data") / "sentiment.tsv"
PARTS = {
    "fresh": DATA.with_name("sentiment-fresh.tsv"),
    "blind": DATA.with_name("sentiment-blind.tsv"),
    "blind2": DATA.with_name("sentiment-blind2.tsv"),
}
_TOLD = ("training", "scoring", "fresh", "blind", "blind2")
LEAST = {"blind": FLOOR, "blind2": BOUND}
LABELS_OF = {"+": "positive", "-": "negative", "0": "neutral"}


def load() -> list[tuple[str, str, str, str]]:
    """Part, language, label and text of every sentence."""
    rows = [line.split("\t") for line in DATA.read_text(encoding="utf-8").splitlines()]
    found = [(part_of(text), language, LABELS_OF[label], text) for language, label, text in rows]
    for part, file in PARTS.items():
        rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
        found += [(part, language, LABELS_OF[label], text) for language, label, text in rows]
    return found


def part_of(text: str) -> str:
    """By a fixed hash: a third of the sentences is for training."""
    return "training" if zlib.crc32(text.encode()) % 3 == 0 else "scoring"


def judged(text: str) -> tuple[str, bool]:
    """The engine's label, and whether it is sure of it; a refusal is a miss, and not sure."""
    try:
        record = run(Work(task_id="s", specialty="sentiment", instruction="", text=text))
        return str(record["label"]), record["confidence"] >= SURE
    except NeedsModel:
        return "refused", False


def main() -> None:
    """The command."""
    argparse.ArgumentParser(prog="python -m bench.sentiment", description=__doc__).parse_args()
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    confused: dict[str, Counter[str]] = {part: Counter() for part in _TOLD}
    for part, language, label, text in load():
        got, sure = judged(text)
        groups = [part, f"{part} {language}", f"{part} {label}"]
        groups += [f"sure: {part}", f"sure: {part} {language}"] if sure else []
        asked.update(groups)
        right.update(groups if got == label else ())
        if got != label:
            confused[part][f"{label} taken for {got}"] += 1
            if part == "training":
                print(f"  {language} {label:8} taken for {got:8} {text}")
    for group in sorted(asked):
        print(f"  {group:24} {right[group]:4}/{asked[group]:<4} {right[group] / asked[group]:6.1%}")
    shares = {part: right[part] / asked[part] for part in _TOLD}
    for part in _TOLD:
        kinds = "; ".join(f"{kind} {count}" for kind, count in confused[part].most_common()) or "none"
        print(f"{part}: {shares[part]:.1%} of {asked[part]}{_asked_of(part, shares[part])}; misses by kind: {kinds}")
    for part in LEAST:
        sure = asked[f"sure: {part}"]
        print(
            f"{sure / asked[part]:.1%} of {part} are not doubted by the engine; of these it has "
            f"{right[f'sure: {part}'] / sure:.1%} right. The rest goes to a model where there is one."
        )
    sys.exit(1 if short_of(shares) else 0)


def short_of(shares: Mapping[str, float]) -> list[str]:
    """The parts that have less than they must."""
    return [part for part, least in LEAST.items() if shares[part] < least]


def _asked_of(part: str, share: float) -> str:
    """What is asked of a part, and whether it is met; of those that were seen, nothing."""
    if part == "blind":
        return f", floor {FLOOR:.0%}: {mark(share, FLOOR)}"
    if part == "blind2":
        return f", reported; may not fall below {BOUND:.0%}: {mark(share, BOUND)}"
    return ", seen before: says nothing"


if __name__ == "__main__":
    main()
