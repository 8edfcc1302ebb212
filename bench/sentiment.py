"""How often the local sentiment engine is right: `python -m bench.sentiment`.

`sentiment.tsv` was written by hand in the style of business mails, after the lists of words. A hash of each sentence
puts it into the part `training` or `scoring`; its scoring part is no longer blind: the lists grew by somebody who had
written all of its sentences. `sentiment-fresh.tsv` was written after the lists were last changed and is the part
`fresh`: its figure is the one to believe, and nobody may learn from it.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections import Counter
from pathlib import Path

from bench.conditions import mark
from hocket.core.work import NeedsModel, Work
from services.workers.sentiment.local import run

FLOOR = 0.85
DATA = Path(__file__).with_name("data") / "sentiment.tsv"
FRESH = DATA.with_name("sentiment-fresh.tsv")
_LABELS = {"+": "positive", "-": "negative", "0": "neutral"}


def load() -> list[tuple[str, str, str, str]]:
    """Part, language, label and text of every sentence."""
    rows = [line.split("\t") for line in DATA.read_text(encoding="utf-8").splitlines()]
    found = [(part_of(text), language, _LABELS[label], text) for language, label, text in rows]
    rows = [line.split("\t") for line in FRESH.read_text(encoding="utf-8").splitlines()]
    return found + [("fresh", language, _LABELS[label], text) for language, label, text in rows]


def part_of(text: str) -> str:
    """By a fixed hash: a third of the sentences is for training."""
    return "training" if zlib.crc32(text.encode()) % 3 == 0 else "scoring"


def label_of(text: str) -> str:
    """The engine's label; a refusal is a miss."""
    try:
        return str(run(Work(task_id="s", specialty="sentiment", instruction="", text=text))["label"])
    except NeedsModel:
        return "refused"


def main() -> None:
    """The command."""
    argparse.ArgumentParser(prog="python -m bench.sentiment", description=__doc__).parse_args()
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    confused: Counter[str] = Counter()
    for part, language, label, text in load():
        got = label_of(text)
        groups = (part, f"{part} {language}", f"{part} {label}", "all")
        asked.update(groups)
        right.update(groups if got == label else ())
        if got != label:
            confused[f"{part}: {label} taken for {got}"] += 1
            if part == "training":
                print(f"  {language} {label:8} taken for {got:8} {text}")
    for group in sorted(asked):
        print(f"  {group:20} {right[group]:4}/{asked[group]:<4} {right[group] / asked[group]:6.1%}")
    print("misses by kind:", "; ".join(f"{kind} {count}" for kind, count in confused.most_common()) or "none")
    for part in ("training", "scoring", "fresh", "all"):
        share = right[part] / asked[part]
        print(f"{share:.1%} of {part} ({asked[part]}); floor {FLOOR:.0%}: {mark(share, FLOOR)}")
    sys.exit(0 if right["fresh"] >= FLOOR * asked["fresh"] else 1)


if __name__ == "__main__":
    main()
