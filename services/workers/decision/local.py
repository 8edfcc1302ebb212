"""The local decision engine: declared rules over the outputs of earlier tasks; the first that holds decides.

    rules:
      - {name: high, when: 'extract.total > 10000', then: needs approval, because: 'It is {{ extract.total }}.'}
    otherwise: {then: pay, because: No rule objects.}

`when` is rule-engine's language: https://zerosteiner.github.io/rule-engine/syntax.html. Words in a text are searched
without regard to case by `text =~~ "(?i)refund|lawyer"`.
"""

import re
from collections.abc import Mapping
from typing import Any

from hocket.core.work import BadInput, NeedsModel, Work
from services.workers.decision.rules import Condition, reached
from services.workers.templates import names_of, render

MAX_RULES = 200
_SHOWN = 200
"""How many characters of a text are kept as a fact."""
_NO_RULE = "No rule applied."


def run(work: Work) -> dict[str, Any]:
    """Evaluate the rules in order up to the first that holds, and give the reason from its own template."""
    rules = _rules(work)
    names = names_of(work)
    facts = {**names, "constants": {name: _typed(value) for name, value in work.constants.items()}}
    considered: list[dict[str, Any]] = []
    used: dict[str, Any] = {}
    for rule, condition in [(rule, Condition(rule["name"], rule["when"])) for rule in rules]:
        fired = condition.holds(facts)
        considered.append({"rule": rule["name"], "fired": fired, "missing": condition.missing(facts)})
        used |= {name: _fact(value) for name, value in (reached(facts, path) for path in condition.paths)}
        if fired:
            return _record(rule, rule["name"], names, considered, used)
    return _record(_otherwise(work), None, names, considered, used)


def _record(
    chosen: Mapping[str, Any],
    name: str | None,
    names: Mapping[str, Any],
    considered: list[dict[str, Any]],
    used: dict[str, Any],
) -> dict[str, Any]:
    because = chosen.get("because")
    then = chosen.get("then")
    return {
        "decision": None if then is None else str(then),
        "rule": name,
        "because": render(str(because), names, of=f"reason of {name or 'otherwise'}") if because else _default(name),
        "considered": considered,
        "facts": used,
    }


def _default(name: str | None) -> str:
    return f"The rule {name} applied." if name else _NO_RULE


def _rules(work: Work) -> list[dict[str, str]]:
    rules = work.options.get("rules")
    if not rules:
        raise NeedsModel("Deciding without declared rules needs a model: this task has none.")
    if not isinstance(rules, list | tuple) or len(rules) > MAX_RULES:
        raise BadInput(f"The option rules must be a list of at most {MAX_RULES} rules.")
    return [_rule(rule, number) for number, rule in enumerate(rules, start=1)]


def _rule(rule: Any, number: int) -> dict[str, str]:
    if not isinstance(rule, Mapping) or not isinstance(rule.get("when"), str) or rule.get("then") is None:
        raise BadInput(f"Rule {number} must have a condition (when) and an outcome (then).")
    return {**rule, "name": str(rule.get("name", f"rule {number}"))}


def _otherwise(work: Work) -> Mapping[str, Any]:
    otherwise = work.options.get("otherwise") or {}
    if not isinstance(otherwise, Mapping):
        raise BadInput("The option otherwise must be a mapping with then and because.")
    return otherwise


def _typed(value: str) -> Any:
    """Constants travel as text; one that reads as a number is compared as a number."""
    return float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else value


def _fact(value: Any) -> bool | float | str | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    return str(value)[:_SHOWN]
