"""The local analysis engine: statistics, sums, trends and outliers of attached CSV and XLSX tables, with a chart.

It computes and words what it computed, in English; it does not say why. Without a table the task needs a model.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from hocket.core.work import BadInput, NeedsModel, Work
from hocket.documents.language import language_of
from services.workers.analysis.chart import bars, line
from services.workers.analysis.figures import Findings, analysed
from services.workers.analysis.tables import tables
from services.workers.analysis.values import words

MAX_TABLES = 20
_SHOWN = 5
_DRAWN = 12


def run(work: Work) -> dict[str, Any]:
    """Analyse every table among the documents, by the words that count for this workflow."""
    with words.of(work.workflow):
        return _analysed(work)


def _analysed(work: Work) -> dict[str, Any]:
    given = tables(work)
    if not given:
        raise NeedsModel(
            "Analysis without a table to compute from needs a model: no CSV or XLSX with rows is attached."
        )
    if len(given) > MAX_TABLES:
        raise BadInput(f"There are more than {MAX_TABLES} tables: send fewer at once.")
    found = [analysed(table) for table in given]
    notes = [note for one in found for note in one.notes]
    if _is_foreign(work, [word for table in given for word in table.header]):
        notes.append("The findings are worded in English only.")
    parts = [_worded(one.record) for one in found]
    if notes:
        parts.append("\n".join(["Notes:", *(f"- {note}" for note in notes)]))
    return {
        "text": "\n\n".join(parts),
        "tables": [one.record for one in found],
        "chart": next((chart for one in found if (chart := _chart(one))), None),
        "notes": notes,
        "language": "en",
    }


def _is_foreign(work: Work, headers: Sequence[str]) -> bool:
    """Whether the request or its tables are plainly in another language than the findings."""
    return any(language_of(text) in ("de", "fr") for text in (work.text, " ".join(headers)))


def _chart(one: Findings) -> str | None:
    if one.points:
        column, points = one.points[0]
        return line(f"{column} by {one.record['trends'][0]['period']}", points)
    groups = one.record["groups"]
    if groups:
        column, by = groups[0]["column"], groups[0]["by"]
        same = [g for g in groups if (g["column"], g["by"]) == (column, by)][:_DRAWN]
        return bars(f"{column} by {by}", [(g["value"], g["total"]) for g in same])
    return None


def _worded(record: dict[str, Any]) -> str:
    lines = [f"{record['name']}: {record['rows']} rows, {len(record['columns'])} columns."]
    units = {column["name"]: column["unit"] for column in record["columns"]}
    lines += [f"- {_column(column)}" for column in record["columns"] if column["kind"] != "text"]
    lines += [f"- {_trend(trend, units)}" for trend in record["trends"]]
    for (column, by), groups in groupby(record["groups"], key=lambda g: (g["column"], g["by"])):
        lines.append(f"- {column} by {by}: {_shares(list(groups), units[column])}.")
    outliers = record["outliers"]
    for outlier in outliers[:_SHOWN]:
        value = _amount(outlier["value"], units[outlier["column"]])
        usual = f"{_amount(outlier['low'], None)} to {_amount(outlier['high'], None)}"
        lines.append(f"- Outlier: {outlier['column']} in row {outlier['row']} is {value}; usual is {usual}.")
    if len(outliers) > _SHOWN:
        lines.append(f"- And {len(outliers) - _SHOWN} more outliers.")
    return "\n".join(lines)


def _column(column: dict[str, Any]) -> str:
    lacks = f", {column['missing']} missing" if column["missing"] else ""
    lacks += f", {column['unreadable']} unreadable" if column.get("unreadable") else ""
    if column["kind"] == "date":
        return f"{column['name']}: {column['first']} to {column['last']}{lacks}."
    if column["kind"] == "empty" or column.get("total") is None:
        return f"{column['name']}: {'no values' if column['kind'] == 'empty' else 'several currencies'}{lacks}."
    unit = column["unit"]
    figures = [f"mean {_amount(column['mean'], unit)}", f"median {_amount(column['median'], unit)}"]
    if unit != "%":
        figures.insert(0, f"total {_amount(column['total'], unit)}")
    span = f"{_amount(column['minimum'], unit)} to {_amount(column['maximum'], unit)}"
    return f"{column['name']}: {', '.join(figures)}, from {span} ({column['count']} values{lacks})."


def _trend(trend: dict[str, Any], units: dict[str, str | None]) -> str:
    unit = units[trend["column"]]
    change = "" if trend["change_percent"] is None else f" ({trend['change_percent']:+.1f} %)"
    return (
        f"{trend['column']} is {trend['direction']} over {trend['periods']} {trend['period']}s: from "
        f"{_amount(trend['first'], unit)} to {_amount(trend['last'], unit)}{change}, "
        f"{_amount(trend['slope'], unit)} per {trend['period']} (R² {trend['r2']:.2f})."
    )


def _shares(groups: Sequence[dict[str, Any]], unit: str | None) -> str:
    said = [
        f"{g['value']} {_amount(g['total'], unit)}"
        + ("" if g["share_percent"] is None else f" ({g['share_percent']:.1f} %)")
        for g in groups[:_SHOWN]
    ]
    return ", ".join([*said, *([f"and {len(groups) - _SHOWN} more"] if len(groups) > _SHOWN else [])])


def _amount(value: float, unit: str | None) -> str:
    whole = unit in (None, "%") and float(value).is_integer()
    shown = f"{value:,.0f}" if whole else f"{value:,.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.3g}"
    return f"{shown} {unit}" if unit else shown
