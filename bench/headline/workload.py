"""The recorded workload: made from a seed, the same for every system. Real texts wherever a local engine reads them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from bench.headline.world import World
from bench.invoice_facts import SCORING, Facts, invent
from bench.invoice_pages import document_of
from bench.sentiment import PARTS
from hocket.core.work import Document

KINDS = ("extraction", "summarisation", "sentiment", "research", "analysis", "writing", "code")
"""The seven kinds of task: one specialised worker each. Planning and synthesis come on top."""
_WORDS = [
    "delivery",
    "contract",
    "notice",
    "term",
    "supplier",
    "price",
    "offer",
    "clause",
    "liability",
    "payment",
    "order",
    "stock",
    "warehouse",
    "quarter",
    "region",
    "customer",
    "service",
    "quality",
    "audit",
    "report",
    "safety",
    "training",
    "budget",
    "forecast",
    "project",
    "milestone",
    "review",
    "partner",
    "license",
]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One task of a request. `case` names its input: a repeated request has the cases of the first one."""

    task_id: str
    kind: str
    case: str
    instruction: str
    text: str = ""
    documents: tuple[Document, ...] = ()
    needs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    truth: Any = None

    @property
    def scored(self) -> bool:
        """Filling in a template cannot go wrong, so it counts for nobody."""
        return "template" not in self.options


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request: steps in an order that keeps their dependencies. `open`: it has to be planned first."""

    request_id: str
    at_s: float
    shape: str
    text: str
    steps: tuple[Step, ...]
    open: bool


def workload(world: World) -> tuple[Asked, ...]:
    """Poisson arrivals at the day's rate."""
    said = world["workload"]
    dice = random.Random(said["seed"])
    invoices = (f for f in (invent(seed) for seed in SCORING) if f.medium in ("text", "docx"))
    reviews = [line.split("\t") for line in PARTS["fresh"].read_text("utf-8").splitlines()]
    makers = {
        "invoice": lambda n: _invoice(n, next(invoices)),
        "review": lambda n: _review(n, dice, reviews),
        "sales": lambda n: _sales(n, dice),
        "dossier": lambda n: _dossier(n, dice),
    }
    at, found, cases = 0.0, list[Asked](), count()
    for number in range(said["requests"]):
        at += dice.expovariate(said["per_day"] / 86_400)
        # Drawn whether used or not, so that a share can be changed without changing all that follows.
        is_open, repeats, which = (
            dice.random() < said["open_share"],
            dice.random() < said["repeat_share"],
            dice.random(),
        )
        shape = dice.choices(list(said["known"]), weights=list(said["known"].values()))[0]
        request_id = f"r{number:05}"
        if repeats and found:
            again = found[int(which * len(found))]
            text, steps, shape, is_open = again.text, again.steps, again.shape, again.open
        elif is_open:
            shape, steps = _open(next(cases), dice)
            text = f"Find out what matters and write it up. case={steps[0].case.partition('.')[0]}.plan.planning"
        else:
            steps = makers[shape](next(cases))
            text = f"workflow {shape}"
        found.append(Asked(request_id=request_id, at_s=at, shape=shape, text=text, steps=steps, open=is_open))
    return tuple(found)


def _step(n: int, task_id: str, kind: str, instruction: str, **more: Any) -> Step:
    case = f"c{n:05}.{task_id}.{kind}"
    return Step(task_id=task_id, kind=kind, case=case, instruction=f"{instruction} case={case}", **more)


def _prose(dice: random.Random, words: int) -> str:
    said = [dice.choice(_WORDS) for _ in range(words)]
    return " ".join(w.capitalize() + "." if i % 12 == 11 else w for i, w in enumerate(said))


def _invoice(n: int, facts: Facts) -> tuple[Step, ...]:
    document = document_of(facts)
    return (
        _step(n, "extract", "extraction", "Read the invoice.", documents=(document,), truth=facts),
        _step(n, "summary", "summarisation", "Sum up what was delivered.", documents=(document,)),
        _step(
            n,
            "note",
            "synthesis",
            "Put number, total and summary together.",
            needs=("extract", "summary"),
            options={"template": "Invoice {{ extract.number or 'none' }}: {{ extract.total }}\n{{ summary.summary }}"},
        ),
    )


def _review(n: int, dice: random.Random, reviews: list[list[str]]) -> tuple[Step, ...]:
    language, label, sentence = dice.choice(reviews)
    told = {"+": "positive", "-": "negative", "0": "neutral"}[label]
    letter = f"{sentence} {_prose(dice, 90)}"
    return (
        _step(n, "mood", "sentiment", "Judge the mood.", text=sentence, truth=(language, told)),
        _step(n, "summary", "summarisation", "Summarise the letter in three sentences.", text=letter),
        _step(n, "rules", "research", "Find what our terms say.", text=letter, documents=(_file(dice, "terms", 250),)),
        _step(n, "reply", "writing", "Draft a reply.", text=letter, needs=("mood", "summary", "rules")),
        _step(
            n,
            "note",
            "synthesis",
            "Put mood and reply together.",
            needs=("mood", "reply"),
            options={"template": "Mood: {{ mood.label }}\n{{ reply.text }}"},
        ),
    )


def _file(dice: random.Random, name: str, words: int) -> Document:
    return Document(name=f"{name}.txt", media_type="text/plain", data=_prose(dice, words).encode())


def _sales(n: int, dice: random.Random) -> tuple[Step, ...]:
    rows = [(dice.choice(("North", "South", "East")), dice.randint(1_000, 99_999) / 100) for _ in range(40)]
    table = "region,amount\n" + "".join(f"{region},{amount:.2f}\n" for region, amount in rows)
    document = Document(name="sales.csv", media_type="text/csv", data=table.encode())
    total = round(sum(amount for _, amount in rows), 2)
    return (
        _step(n, "figures", "analysis", "Compute totals by region.", documents=(document,), truth=total),
        _step(n, "comment", "writing", "Comment on the figures for the board.", needs=("figures",)),
        _step(
            n,
            "report",
            "synthesis",
            "Put figures and comment together.",
            needs=("figures", "comment"),
            options={"template": "{{ comment.text }}\n\n{{ figures.text }}"},
        ),
    )


def _dossier(n: int, dice: random.Random) -> tuple[Step, ...]:
    documents = (_file(dice, "contract", 350),)
    return (
        _step(n, "clauses", "research", "Find term, notice and liability.", documents=documents),
        _step(n, "risks", "research", "Find what may cost us money.", documents=documents),
        _step(n, "summary", "summarisation", "Summarise the contract.", documents=documents),
        _step(
            n,
            "brief",
            "synthesis",
            "Put clauses, risks and summary together.",
            needs=("clauses", "risks", "summary"),
            options={"template": "{{ summary.summary }}\n{{ clauses.text }}\n{{ risks.text }}"},
        ),
    )


def _open(n: int, dice: random.Random) -> tuple[str, tuple[Step, ...]]:
    documents = (_file(dice, "notes", 250),)
    facts = _step(n, "facts", "research", "Find the facts.", documents=documents)
    if dice.random() < 0.3:
        return "open with code", (
            facts,
            _step(n, "program", "code", "Write the program.", documents=documents, needs=("facts",)),
            _step(n, "guide", "writing", "Write how to use it.", needs=("facts",)),
            _step(n, "answer", "synthesis", "Join program and guide.", needs=("program", "guide")),
        )
    return "open", (
        facts,
        _step(n, "market", "research", "Find what others do.", documents=documents),
        _step(n, "compare", "analysis", "Weigh the choices.", needs=("facts", "market")),
        _step(n, "draft", "writing", "Write the recommendation.", needs=("facts", "market", "compare")),
    )


def plan_of(asked: Asked, *, complete: bool) -> dict[str, Any]:
    """The draft that a model replies with for an open request; a poor plan forgets its first task."""
    steps = asked.steps if complete else asked.steps[1:]
    there = {s.task_id for s in steps}
    tasks = [
        {
            "id": s.task_id,
            "specialty": s.kind,
            "instruction": s.instruction,
            "depends_on": [d for d in s.needs if d in there],
        }
        for s in steps
    ]
    return {"tasks": tasks}
