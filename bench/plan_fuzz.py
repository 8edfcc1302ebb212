"""Bad plans of every kind against the plan compiler: how many pass unsound, how many are mended without another call.

    python -m bench.plan_fuzz [--plans 6000] [--seed 1]

Soundness is judged by an oracle of its own (graphlib), not by the compiler's checks. A mended plan must keep the
dependencies that were meant before the fault was put in; one that does not is counted as changed.

Beside these, the drafts in bench/drafts: written by hand, modelled on what models behind each provider get wrong.
"""

from __future__ import annotations

import argparse
import copy
import graphlib
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hocket.core.compile import Compiled, compile_plan
from hocket.core.plan import PlanLimits

KNOWN = ("research", "code", "analysis", "writing", "extraction", "summarisation", "translation", "synthesis")
LIMITS = PlanLimits()
DRAFTS = Path(__file__).parent / "drafts"
Draft = dict[str, Any]
Fault = Callable[[Draft, random.Random], Any]


def good(rng: random.Random) -> Draft:
    """A sound plan: each task waits for some earlier ones, the last one for all that nothing else waits for."""
    tasks: list[Draft] = []
    for n in range(rng.randint(2, 5)):
        name = rng.choice(KNOWN[:-1])
        needs = rng.sample([t["id"] for t in tasks], k=rng.randint(0, min(2, len(tasks))))
        words = rng.choice(("vendor prices", "open risks", "first draft", "key dates", "market size"))
        tasks.append(_task(f"{words.replace(' ', '_')}_{'abcdef'[n]}", name, f"Work out {words}, part {n}.", needs))
    needed = {d for t in tasks for d in t["depends_on"]}
    tasks.append(_task("answer", "synthesis", "Join it.", [t["id"] for t in tasks if t["id"] not in needed]))
    return {"tasks": tasks}


def _task(task_id: str, specialty: str, instruction: str, needs: list[str]) -> Draft:
    return {"id": task_id, "specialty": specialty, "instruction": instruction, "depends_on": needs}


def _each(change: Callable[[Draft, random.Random], object]) -> Fault:
    def apply(draft: Draft, rng: random.Random) -> Draft:
        for task in draft["tasks"]:
            change(task, rng)
        return draft

    return apply


def _one(change: Callable[[Draft, Draft, random.Random], object]) -> Fault:
    def apply(draft: Draft, rng: random.Random) -> Draft:
        change(rng.choice(draft["tasks"]), draft, rng)
        return draft

    return apply


def _misspelt(task: Draft, _: Draft, rng: random.Random) -> None:
    name = task["specialty"]
    at = rng.randrange(1, len(name) - 1)
    task["specialty"] = rng.choice((name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:], name.title()))
    if task["specialty"] in KNOWN:
        task["specialty"] = name.upper()


def _numbered(draft: Draft, _: random.Random) -> Draft:
    place = {t["id"]: n for n, t in enumerate(draft["tasks"], 1)}
    for t in draft["tasks"]:
        t["depends_on"] = [place[d] for d in t["depends_on"]]
        t["id"] = place[t["id"]]
    return draft


def _titles(draft: Draft, _: random.Random) -> Draft:
    title = {t["id"]: t["id"].replace("_", " ").title() for t in draft["tasks"]}
    for t in draft["tasks"]:
        t["depends_on"] = [title[d] for d in t["depends_on"]]
    return draft


def _aliased(draft: Draft, _: random.Random) -> Draft:
    names = {"id": "task_id", "specialty": "agent", "instruction": "description", "depends_on": "dependencies"}
    return {"steps": [{names[k]: v for k, v in t.items()} for t in draft["tasks"]]}


def _circle(draft: Draft, _: random.Random) -> Draft:
    tasks = draft["tasks"]
    tasks[0]["depends_on"] = [*tasks[0]["depends_on"], tasks[-1]["id"]]
    tasks[-1]["depends_on"] = [*tasks[-1]["depends_on"], tasks[0]["id"]]
    return draft


def _deep(draft: Draft, _: random.Random) -> Draft:
    chain = [_task(f"c{n}x", "research", "Go on.", [f"c{n - 1}x"] if n else []) for n in range(LIMITS.max_depth + 2)]
    return {"tasks": [*chain, *draft["tasks"]]}


def _wide(draft: Draft, _: random.Random) -> Draft:
    more = [_task(f"w{n}x", "research", "Look.", []) for n in range(LIMITS.max_tasks)]
    return {"tasks": [*more, *draft["tasks"]]}


def _twice(draft: Draft, rng: random.Random) -> Draft:
    draft["tasks"].insert(0, copy.deepcopy(rng.choice(draft["tasks"])) | {"depends_on": []})
    return draft


FAULTS: dict[str, Fault] = {
    "misspelt specialty": _one(_misspelt),
    "unknown specialty": _one(lambda t, _d, rng: t.update(specialty=rng.choice(("astrology", "finance", "", None, 7)))),
    "numbers for ids": _numbered,
    "titles for ids": _titles,
    "no ids": lambda d, _: {
        "tasks": [{k: v for k, v in t.items() if k != "id"} | {"depends_on": []} for t in d["tasks"]]
    },
    "same id twice": _twice,
    "other field names": _aliased,
    "prose around it": lambda d, _: f"Here is the plan:\n```json\n{json.dumps(d)}\n```\nTell me if it fits.",
    "waits for itself": _one(lambda t, _d, _r: t["depends_on"].append(t["id"])),
    "waits for nothing": _one(lambda t, _d, rng: t["depends_on"].append(rng.choice(("none", "null", "", None, "N/A")))),
    "dangling": _one(lambda t, _d, _r: t["depends_on"].append("the_missing_piece")),
    "needs as text": _each(lambda t, _r: t.update(depends_on=", ".join(t["depends_on"]))),
    "surplus fields": _each(lambda t, _r: t.update(tools=["web"], reasoning="because")),
    "several last ones": lambda d, _: {"tasks": [*d["tasks"], _task("loose", "research", "Look.", [])]},
    "capitals in ids": _each(lambda t, _r: t.update(depends_on=[d.upper() for d in t["depends_on"]])),
    "priority in words": _each(lambda t, rng: t.update(priority=rng.choice(("high", "11", 99, -3, 2.5, "low")))),
    "circle": _circle,
    "no instruction": _one(lambda t, _d, _r: t.update(instruction=" ")),
    "too deep": _deep,
    "too many": _wide,
    "no plan": lambda _d, rng: rng.choice((None, [], {}, "I cannot do that.", 7, {"tasks": "x"}, {"tasks": [1]})),
}
KEEPS = frozenset(FAULTS) - {
    "no ids",
    "same id twice",
    "several last ones",
    "circle",
    "too deep",
    "too many",
    "dangling",
}


def unsound(found: Compiled) -> list[str]:
    """What is wrong with a plan that was let through, by rules written here alone."""
    ids = [t.task_id for t in found.tasks]
    wrong = ["ids"] if len(set(ids)) != len(ids) or not all(ids) else []
    wrong += ["specialty" for t in found.tasks if t.specialty not in KNOWN]
    wrong += ["instruction" for t in found.tasks if not t.instruction.strip()]
    wrong += ["priority" for t in found.tasks if not 0 <= t.priority <= 9]
    wrong += ["dangling" for t in found.tasks if not set(t.depends_on) <= set(ids)]
    wrong += ["output"] if found.output_task not in ids else []
    wrong += ["size"] if len(ids) > LIMITS.max_tasks else []
    try:
        order = list(graphlib.TopologicalSorter({t.task_id: t.depends_on for t in found.tasks}).static_order())
    except graphlib.CycleError:
        return [*wrong, "circle"]
    needs, depth = {t.task_id: t.depends_on for t in found.tasks}, dict[str, int]()
    for i in order:
        depth[i] = 1 + max((depth[d] for d in needs.get(i, ())), default=0)
    return [*wrong, "depth"] if max(depth.values(), default=0) > LIMITS.max_depth else wrong


@dataclass(kw_only=True)
class Tally:
    """Outcomes by kind of fault."""

    plans: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    unsound: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        """Share of all bad plans that became sound ones without another call."""
        return self.mended.total() / max(1, self.plans.total())


def run(plans: int, seed: int) -> Tally:
    """That many bad plans, the kinds in turn. The same seed gives the same plans."""
    rng, tally = random.Random(seed), Tally()
    kinds = list(FAULTS)
    for n in range(plans):
        kind = kinds[n % len(kinds)]
        meant = good(rng)
        found = compile_plan(FAULTS[kind](copy.deepcopy(meant), rng), KNOWN, priority=5, limits=LIMITS)
        tally.plans[kind] += 1
        if found.faults:
            continue
        tally.unsound[kind] += bool(unsound(found))
        changed = kind in KEEPS and _edges(found) != _meant(meant)
        tally.changed[kind] += changed
        tally.mended[kind] += not changed
    return tally


def _meant(draft: Draft) -> list[set[int]]:
    place = {t["id"]: n for n, t in enumerate(draft["tasks"])}
    return [{place[d] for d in t["depends_on"]} for t in draft["tasks"]]


def _edges(found: Compiled) -> list[set[int]]:
    place = {t.task_id: n for n, t in enumerate(found.tasks)}
    return [{place[d] for d in t.depends_on} for t in found.tasks]


@dataclass(frozen=True, kw_only=True)
class Modelled:
    """A draft as a model might write it; `edges` are the dependencies meant, by place, None where nobody can know."""

    style: str
    what: str
    draft: object
    edges: list[set[int]] | None

    def outcome(self) -> str:
        """mended, refused, UNSOUND or WRONG: what the compiler makes of it, by the oracle and by what was meant."""
        found = compile_plan(copy.deepcopy(self.draft), KNOWN, priority=5, limits=LIMITS)
        if found.faults:
            return "refused" if self.edges is None else "WRONG: refused"
        if unsound(found):
            return "UNSOUND"
        return "mended" if _edges(found) == self.edges else "WRONG: another plan"


def modelled() -> list[Modelled]:
    """The drafts written by hand, of both styles."""
    found = []
    for file in sorted(DRAFTS.glob("*.json")):
        for d in json.loads(file.read_text("utf-8"))["drafts"]:
            edges = None if d["edges"] is None else [set(e) for e in d["edges"]]
            found.append(Modelled(style=file.stem, what=d["what"], draft=d["draft"], edges=edges))
    return found


def main() -> int:
    """Prints the table; exit code 1 when an unsound plan passed or too few were mended."""
    parser = argparse.ArgumentParser(prog="bench.plan_fuzz", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--plans", type=int, default=6_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    tally = run(given.plans, given.seed)
    for kind in FAULTS:
        n, m = tally.plans[kind], tally.mended[kind]
        print(f"{kind:<20} {n:>6} plans  {m / max(1, n):>6.0%} mended  {tally.changed[kind]} changed")
    print(
        f"{tally.plans.total()} bad plans: {tally.unsound.total()} unsound passed, {tally.changed.total()} changed in"
    )
    print(f"meaning, {tally.share:.1%} mended without another call (floor 60 %)")
    outcomes = [(d, d.outcome()) for d in modelled()]
    for d, said in outcomes:
        print(f"{d.style:<10} {d.what:<70} {said}")
    mended, bad = sum(o == "mended" for _, o in outcomes), sum(o[0].isupper() for _, o in outcomes)
    print(f"{len(outcomes)} drafts modelled on providers' styles: {bad} wrong, {mended / len(outcomes):.0%} mended")
    return int(tally.unsound.total() > 0 or tally.share < 0.6 or bad > 0)


if __name__ == "__main__":
    sys.exit(main())
