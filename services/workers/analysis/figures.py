"""What a table's numbers say: statistics, trends over time, outliers, sums by category. Pure.

Sums are exact before they are rounded once (math.fsum). Quartiles by the inclusive method (type 7 of Hyndman and Fan,
1996), outliers by Tukey's fences ("Exploratory Data Analysis", 1977), trends by least squares.
"""

import datetime as dt
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hocket.documents.language import language_of
from services.workers.analysis.tables import Table
from services.workers.analysis.values import Raw, date, day_first, is_missing, locale_of, number, words

_MOSTLY = 0.8
"""A column is of a kind if at least this part of its values is."""
_MIN_PERIODS = 3
_MIN_FOR_OUTLIERS = 8
_MAX_OUTLIERS = 20
_MAX_TRENDS = 6
_MAX_GROUPS = 20
_FLAT = 0.05
_EXPLAINED = 0.1


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: `numbers` and `dates` hold a value or None per row."""

    name: str
    kind: str
    cells: tuple[Raw, ...]
    numbers: tuple[float | None, ...] = ()
    dates: tuple[dt.date | None, ...] = ()
    unit: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def values(self) -> list[float]:
        """The numbers that are there."""
        return [value for value in self.numbers if value is not None]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The output record's part about one table; `points` are the drawn values of each trend."""

    record: dict[str, Any]
    notes: list[str]
    points: list[tuple[str, list[tuple[str, float]]]] = field(default_factory=list)


def analysed(table: Table) -> Findings:
    """Everything about one table."""
    every = [cell for row in table.rows for cell in row]
    locale, guessed = locale_of(every, table.delimiter, language_of(" ".join(table.header)))
    notes = list(table.notes)
    if guessed:
        notes.append(f"{table.name}: its numbers can be read in two ways (1,234); they were read as {locale}.")
    columns = [
        _column(name, cells, locale) for name, cells in zip(table.header, zip(*table.rows, strict=True), strict=True)
    ]
    notes += [f"{table.name}: {note}" for column in columns for note in column.notes]
    numeric = sorted((c for c in columns if c.kind == "number" and c.unit != "mixed"), key=_importance)
    trends, points, late = _trends(numeric, next((c for c in columns if c.kind == "date"), None))
    record = {
        "name": table.name,
        "rows": len(table.rows),
        "locale": locale,
        "delimiter": table.delimiter,
        "columns": [_described(column) for column in columns],
        "trends": trends,
        "outliers": _outliers(numeric),
        "groups": _groups(numeric, [c for c in columns if c.kind == "text"]),
    }
    return Findings(record=record, notes=[*notes, *(f"{table.name}: {note}" for note in late)], points=points)


def _column(name: str, cells: tuple[Raw, ...], locale: str) -> Column:
    there = [cell for cell in cells if not is_missing(cell)]
    if not there:
        return Column(name=name, kind="empty", cells=cells)
    found = [None if is_missing(cell) else number(cell, locale) for cell in cells]
    numbers = [n for n in found if n is not None]
    if len(numbers) >= _MOSTLY * len(there) and not _is_identifier(name, [n.value for n in numbers]):
        units = Counter(n.unit for n in numbers if n.unit)
        unit = None if not units else next(iter(units)) if len(units) == 1 else "mixed"
        mixed = (f"{name} mixes {', '.join(sorted(units))}: nothing was added up.",) if unit == "mixed" else ()
        values = tuple(None if n is None else n.value for n in found)
        return Column(name=name, kind="number", cells=cells, numbers=values, unit=unit, notes=mixed)
    first, guessed = day_first(there, locale)
    dates = tuple(None if is_missing(cell) else date(cell, day_first=first) for cell in cells)
    if sum(day is not None for day in dates) >= _MOSTLY * len(there):
        order = "day/month" if first else "month/day"
        note = (f"the dates of {name} can be read in two ways; they were read as {order}.",) if guessed else ()
        return Column(name=name, kind="date", cells=cells, dates=dates, notes=note)
    return Column(name=name, kind="text", cells=cells)


def _is_identifier(name: str, values: Sequence[float]) -> bool:
    """Whether whole numbers under this header only name things: "Order no", "PLZ", "Year"."""
    if not all(value.is_integer() for value in values):
        return False
    parts = name.casefold().replace("_", " ").replace("-", " ").split()
    return any(part in words()["identifiers"] for part in (*parts[:1], *parts[-1:]))


def _importance(column: Column) -> tuple[int, int]:
    """Headers of `main` first, money before other numbers."""
    name = column.name.casefold()
    wanted = words()["main"]
    place = next(
        (n for n, word in enumerate(wanted) if word in name.replace("_", " ").split() or word == name), len(wanted)
    )
    return place, column.unit in (None, "%")


def _described(column: Column) -> dict[str, Any]:
    there = sum(not is_missing(cell) for cell in column.cells)
    said: dict[str, Any] = {
        "name": column.name,
        "kind": column.kind,
        "count": there,
        "missing": len(column.cells) - there,
        "unit": None if column.unit == "mixed" else column.unit,
    }
    if column.kind == "text":
        said["distinct"] = len({str(cell) for cell in column.cells if not is_missing(cell)})
    elif column.kind == "date":
        days = [day for day in column.dates if day is not None]
        said |= {"count": len(days), "unreadable": there - len(days)}
        said |= {"first": min(days).isoformat(), "last": max(days).isoformat()}
    elif column.kind == "number":
        values = column.values
        said |= {"count": len(values), "unreadable": there - len(values)}
        said |= {} if column.unit == "mixed" else _figures(values)
    return said


def _figures(values: Sequence[float]) -> dict[str, float | None]:
    q1, _, q3 = _quartiles(values)
    total = math.fsum(values)
    return {
        "total": total,
        "mean": total / len(values),
        "median": statistics.median(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "minimum": min(values),
        "maximum": max(values),
        "q1": q1,
        "q3": q3,
    }


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return q1, median, q3


def _outliers(numeric: Sequence[Column]) -> list[dict[str, Any]]:
    found: list[tuple[float, dict[str, Any]]] = []
    for column in numeric:
        if len(column.values) < _MIN_FOR_OUTLIERS:
            continue
        q1, _, q3 = _quartiles(column.values)
        spread = q3 - q1
        low, high = q1 - 1.5 * spread, q3 + 1.5 * spread
        for row, value in enumerate(column.numbers, start=1):
            if spread > 0 and value is not None and not low <= value <= high:
                far = max(low - value, value - high) / spread
                found.append((far, {"column": column.name, "row": row, "value": value, "low": low, "high": high}))
    found.sort(key=lambda pair: -pair[0])
    return [outlier for _, outlier in found[:_MAX_OUTLIERS]]


Points = list[tuple[str, list[tuple[str, float]]]]


def _trends(numeric: Sequence[Column], by: Column | None) -> tuple[list[dict[str, Any]], Points, list[str]]:
    if by is None:
        return [], [], []
    period = _period([day for day in by.dates if day is not None])
    trends: list[dict[str, Any]] = []
    points: Points = []
    for column in numeric[:_MAX_TRENDS]:
        series = _series(column, by, period)
        if len(series) >= _MIN_PERIODS:
            trends.append({"column": column.name, "by": by.name, "period": period, **_line(series)})
            points.append((column.name, [(_label(place, period), value) for place, value in series]))
    last = max(day for day in by.dates if day is not None)
    ends = _place(last + dt.timedelta(days=4 if period == "month" else 15), period) != _place(last, period)
    late = [f"the last {period} ends on {last.isoformat()} and may not be complete."]
    return trends, points, late if trends and period != "day" and not ends and _has_days(by) else []


def _has_days(by: Column) -> bool:
    """Whether the dates are of days; a column of months has nothing but firsts."""
    return any(day is not None and day.day != 1 for day in by.dates)


def _period(days: Sequence[dt.date]) -> str:
    span = (max(days) - min(days)).days
    return "day" if span <= 62 else "month" if span <= 5 * 366 else "year"


def _place(day: dt.date, period: str) -> int:
    """Numbers periods so that a gap counts as such."""
    return {"day": day.toordinal(), "month": day.year * 12 + day.month - 1, "year": day.year}[period]


def _label(place: int, period: str) -> str:
    if period == "day":
        return dt.date.fromordinal(place).isoformat()
    return f"{place // 12}-{place % 12 + 1:02}" if period == "month" else str(place)


def _series(column: Column, by: Column, period: str) -> list[tuple[int, float]]:
    parts: dict[int, list[float]] = defaultdict(list)
    for value, day in zip(column.numbers, by.dates, strict=True):
        if value is not None and day is not None:
            parts[_place(day, period)].append(value)
    mean = column.unit == "%"
    return sorted((place, math.fsum(v) / (len(v) if mean else 1)) for place, v in parts.items())


def _line(series: Sequence[tuple[int, float]]) -> dict[str, Any]:
    xs, ys = [float(x - series[0][0]) for x, _ in series], [y for _, y in series]
    slope, _ = statistics.linear_regression(xs, ys)
    level = max(ys) == min(ys)
    r2 = 0.0 if level else min(1.0, statistics.correlation(xs, ys) ** 2)
    first, last = ys[0], ys[-1]
    moved = abs(slope) * xs[-1]
    flat = r2 < _EXPLAINED or moved < _FLAT * (math.fsum(abs(y) for y in ys) / len(ys))
    return {
        "periods": len(series),
        "slope": slope,
        "r2": r2,
        "first": first,
        "last": last,
        "change_percent": None if first == 0 else (last - first) / abs(first) * 100,
        "direction": "flat" if flat else "rising" if slope > 0 else "falling",
    }


def _groups(numeric: Sequence[Column], texts: Sequence[Column]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for by in texts:
        names = {str(cell) for cell in by.cells if not is_missing(cell)}
        if not 2 <= len(names) <= _MAX_GROUPS or len(names) > len(by.cells) / 2:
            continue
        for column in [c for c in numeric if c.unit != "%"][:2]:
            found += _sums(column, by)
    return found


def _sums(column: Column, by: Column) -> list[dict[str, Any]]:
    parts: dict[str, list[float]] = defaultdict(list)
    for value, cell in zip(column.numbers, by.cells, strict=True):
        if value is not None and not is_missing(cell):
            parts[str(cell)].append(value)
    sums = {name: math.fsum(values) for name, values in parts.items()}
    whole = math.fsum(value for values in parts.values() for value in values)
    shared = whole > 0 and min(sums.values(), default=-1) >= 0
    return [
        {
            "column": column.name,
            "by": by.name,
            "value": name,
            "total": total,
            "share_percent": total / whole * 100 if shared else None,
        }
        for name, total in sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
