"""The lines of an invoice: the rows between the heading of the table and the first sum. Pure."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hocket.documents.layout import Cell, Row
from services.workers.extraction.pairing import Label, header_columns, is_header
from services.workers.extraction.values import Money, amounts

_SUMS = frozenset({"total", "net", "tax"})
MAX_ITEMS = 500


def items_of(rows: Sequence[Row], labels: Sequence[Label]) -> list[dict[str, Any]]:
    """Description, quantity, unit price and amount of each line; null where a row does not give it for sure."""
    sums = {label.row for label in labels if label.field in _SUMS and label.start < 3}
    head = next((number for number, row in enumerate(rows) if is_header(row)), None)
    if head is None:
        return []
    found: list[dict[str, Any]] = []
    for number in range(head + 1, len(rows)):
        if number in sums or len(found) >= MAX_ITEMS:
            break
        item = _item(rows[number], rows[head])
        if item is not None:
            found.append(item)
    return found


def _item(row: Row, head: Row) -> dict[str, Any] | None:
    named = header_columns(head)
    about = next((head[index] for index, name in named.items() if name == "description"), head[0])
    words = [cell for cell in row if sum(map(str.isalpha, cell.text)) >= 3]
    if len(row) < 2 or not words:
        return None
    description = min(words, key=lambda cell: abs(cell.x0 - about.x0))
    numbers = [money for cell in row if cell is not description for money in _numbers(cell)]
    if not numbers or not numbers[-1].exact:
        return None
    amount = numbers[-1].value
    pair = _factors(numbers[:-1], amount)
    return {
        "description": description.text,
        "quantity": float(pair[0]) if pair else None,
        "unit_price": float(pair[1]) if pair else None,
        "amount": float(amount),
    }


def _numbers(cell: Cell) -> list[Money]:
    return list(amounts(cell.text))


def _factors(numbers: Sequence[Money], amount: Decimal) -> tuple[Decimal, Decimal] | None:
    """The two neighbouring numbers whose product is the amount: only then are they quantity and price."""
    for first, second in pairwise(numbers):
        if abs(first.value * second.value - amount) <= Decimal("0.011"):
            return first.value, second.value
    return None
