"""Texts from templates: Jinja2 in its sandbox, over the outputs of earlier tasks. Pure.

What a document did not say shows as "not found" instead of breaking the text. A field that a record does not have at
all is the template's fault and says so, while a whole task may be absent: it may have been optional.
"""

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError, Undefined, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from hocket.core.work import BadInput, Work

NOT_FOUND = "not found"
MAX_LENGTH = 200_000
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


class _Absent(StrictUndefined):
    """An unknown name: lenient for a task that is not there and all below it, strict for a field of one that is."""

    def _lenient(self) -> bool:
        return self._undefined_obj is missing or isinstance(self._undefined_obj, Undefined)

    def __str__(self) -> str:  # type: ignore[override]  # the base only raises
        return NOT_FOUND if self._lenient() else super().__str__()

    def __bool__(self) -> bool:  # type: ignore[override]  # the base only raises
        return False if self._lenient() else super().__bool__()

    def __eq__(self, other: object) -> bool:  # type: ignore[override]  # the base only raises
        return other is None if self._lenient() else super().__eq__(other)

    def __hash__(self) -> int:  # type: ignore[override]  # the base only raises
        return id(type(self))

    def __iter__(self) -> Any:
        return iter(()) if self._lenient() else super().__iter__()

    def __len__(self) -> int:  # type: ignore[override]  # the base only raises
        return 0 if self._lenient() else super().__len__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not self._lenient():
            return super().__getattr__(name)
        return _Absent(obj=self, name=name)

    def __getitem__(self, name: Any) -> Any:
        if not self._lenient():
            return super().__getitem__(name)
        return _Absent(obj=self, name=name)


class _Earlier(dict[str, str]):
    """Results of earlier requests, which may not be there at all."""

    def __missing__(self, name: str) -> None:
        return None


def money(value: Any, currency: str | None = None, style: str = "en") -> str:
    """`{{ extract.total | money(extract.currency) }}` is "1,234.50 EUR"; style "de" and "fr" as written there."""
    if isinstance(value, Undefined) or value is None:
        return NOT_FOUND
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"The filter money needs a number, not {value!r}.")
    marks = {"en": ",.", "de": ".,", "fr": " ,"}.get(style)
    if marks is None:
        raise BadInput(f"The filter money knows the styles en, de and fr, not {style!r}.")
    whole, _, cents = f"{value:,.2f}".partition(".")
    amount = whole.replace(",", marks[0]) + marks[1] + cents
    return f"{amount} {currency}" if currency and not isinstance(currency, Undefined) else amount


def date(value: Any, style: str = "long") -> str:
    """`{{ extract.due_date | date }}` is "14 November 2026"; style "iso" leaves 2026-11-14."""
    if isinstance(value, Undefined) or value is None:
        return NOT_FOUND
    try:
        day = dt.date.fromisoformat(str(value)[:10])
    except ValueError as error:
        raise BadInput(f"The filter date needs a date like 2026-11-14, not {value!r}.") from error
    return day.isoformat() if style == "iso" else f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


@functools.cache
def _environment() -> Environment:
    environment = ImmutableSandboxedEnvironment(
        undefined=_Absent,
        autoescape=False,  # the texts are plain text, not HTML
        finalize=lambda value: NOT_FOUND if value is None else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.clear()
    environment.filters["money"] = money
    environment.filters["date"] = date
    return environment


def names_of(work: Work) -> dict[str, Any]:
    """What rules and templates can name: each input by its task id (`-` as `_`), `text`, `constants`, and `earlier`
    (texts by specialty)."""
    outputs = {name_of(item.task_id): item.output for item in work.inputs}
    earlier = _Earlier({name_of(specialty): text for specialty, text in work.earlier.items()})
    return {"earlier": earlier, **outputs, "text": work.text, "constants": work.constants}


def name_of(task_id: str) -> str:
    """A task id as rules and templates can write it: `check-2` would be a subtraction."""
    return task_id.replace("-", "_").replace(".", "_")


def render(template: str, names: Mapping[str, Any], of: str = "template") -> str:
    """Fill a template in. `of` names it in messages."""
    parts: list[str] = []
    length = 0
    try:
        for part in _environment().from_string(template).generate(**names):
            length += len(part)
            if length > MAX_LENGTH:
                raise BadInput(f"The {of} gives more than {MAX_LENGTH} characters.")
            parts.append(part)
    except (TemplateError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        # Whatever a template's own expression runs into is the template's fault.
        raise BadInput(f"The {of} cannot be filled in: {str(error).rstrip('.')}.") from error
    return "".join(parts).strip()


def used_names(template: str) -> set[str]:
    """The names that a template takes from outside."""
    try:
        return meta.find_undeclared_variables(_environment().parse(template))
    except TemplateError as error:
        raise BadInput(f"The template cannot be read: {str(error).rstrip('.')}.") from error
