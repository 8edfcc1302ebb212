"""Personal data masked by rule. Pure but for reading the rules; what no rule names stays, so look before you share."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hocket.cli.base import usage


class Rule(BaseModel):
    """One kind of personal data."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = Field(alias="as", pattern=r"^[A-Z][A-Z_]*$")
    pattern: str
    check: Literal["luhn", "iban"] | None = None
    everywhere: bool = False

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as e:
            raise ValueError(f"no regular expression: {e}") from e
        return pattern


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    rules: tuple[Rule, ...]


def load_rules(own: Path | None = None) -> tuple[Rule, ...]:
    """The shipped rules, or those of the user's own file. Raises CliError (usage) for a wrong one."""
    try:
        text = own.read_text("utf-8") if own else (files("hocket.cli") / "masking.toml").read_text("utf-8")
        return _File.model_validate(tomllib.loads(text)).rules
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, x['loc']))}: {x['msg']}" for x in e.errors())
        return usage(f"the masking rules in {own} are wrong: {wrong}")
    except (OSError, ValueError) as e:
        return usage(f"the masking rules in {own} cannot be read: {e}")


@dataclass(frozen=True, kw_only=True)
class Masked:
    """The texts in their order, and how many different values were masked."""

    texts: tuple[str, ...]
    count: int


def masked(texts: Sequence[str], rules: Sequence[Rule]) -> Masked:
    """The texts of one pair without what the rules find; a value has one placeholder in all of them."""
    found = list(texts)
    count = 0
    for rule in rules:
        pattern = re.compile(rule.pattern)
        values = dict.fromkeys(_value(m) for text in found for m in pattern.finditer(text) if _holds(rule, _value(m)))
        numbers = {value: f"[{rule.name}_{n}]" for n, value in enumerate(values, start=1)}
        count += len(numbers)
        found = [_replaced(text, pattern, numbers, everywhere=rule.everywhere) for text in found]
    return Masked(texts=tuple(found), count=count)


def _replaced(text: str, pattern: re.Pattern[str], numbers: dict[str, str], *, everywhere: bool) -> str:
    if everywhere and numbers:
        longest = sorted(numbers, key=len, reverse=True)
        either = "|".join(re.escape(value) for value in longest)
        return re.sub(rf"(?<!\w)(?:{either})(?!\w)", lambda m: numbers[m.group()], text)

    def replace(match: re.Match[str]) -> str:
        value = _value(match)
        return match.group().replace(value, numbers.get(value, value))

    return pattern.sub(replace, text)


def _value(match: re.Match[str]) -> str:
    named: dict[str, Any] = match.groupdict()
    return str(named.get("value") or match.group())


def _holds(rule: Rule, value: str) -> bool:
    plain = re.sub(r"[ -]", "", value)
    if rule.check == "luhn":
        digits = [int(c) for c in reversed(plain)]
        return (sum(digits[::2]) + sum(sum(divmod(2 * d, 10)) for d in digits[1::2])) % 10 == 0
    if rule.check == "iban":
        turned = plain[4:] + plain[:4]
        return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in turned)) % 97 == 1
    return True
