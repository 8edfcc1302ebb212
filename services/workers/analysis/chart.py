"""A chart as SVG text: a line over time, or bars by category. Pure."""

import math
from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 20, 46, 56
_MAX_POINTS = 400
_STYLE = "text{font:12px sans-serif;fill:#333}.t{font-size:15px;font-weight:bold}.g{stroke:#ddd}.z{stroke:#888}"


def line(title: str, points: Sequence[tuple[str, float]]) -> str:
    """Values in their order, joined by a line. Of very many the first ones."""
    points = points[:_MAX_POINTS]
    low, high, marks = _scale([value for _, value in points])
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(points) - 1)
    places = [(_LEFT + n * step, _y(value, low, high)) for n, (_, value) in enumerate(points)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    every = -(-len(points) // 12)
    labels = [_text(places[n][0], _HEIGHT - 34, points[n][0], "middle") for n in range(0, len(points), every)]
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#2a6fb0"/>' for x, y in places]
    drawn = [f'<polyline points="{path}" fill="none" stroke="#2a6fb0" stroke-width="2"/>', *dots]
    return _picture(title, [*_grid(low, high, marks), *drawn, *labels])


def bars(title: str, points: Sequence[tuple[str, float]]) -> str:
    """One bar for each value."""
    low, high, marks = _scale([*(value for _, value in points), 0.0])
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(points))
    parts: list[str] = []
    for n, (name, value) in enumerate(points):
        top, foot = sorted((_y(value, low, high), _y(0.0, low, high)))
        x = _LEFT + n * step + step * 0.15
        parts.append(
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{step * 0.7:.1f}" height="{foot - top:.1f}" fill="#2a6fb0"/>'
        )
        parts.append(_text(x + step * 0.35, _HEIGHT - 34, name if len(name) <= 14 else f"{name[:13]}…", "middle"))
    return _picture(title, [*_grid(low, high, marks), *parts])


def _scale(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """The axis from nought, or from below if values are, with round marks."""
    low, high = min(0.0, *values), max(0.0, *values)
    if low == high:
        high = 1.0
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((power * factor for factor in (1, 2, 5) if power * factor >= rough), power * 10)
    first, last = int(low // step), -int(-high // step)
    return first * step, last * step, [n * step for n in range(first, last + 1)]


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _grid(low: float, high: float, marks: Sequence[float]) -> list[str]:
    parts: list[str] = []
    for mark in marks:
        y = _y(mark, low, high)
        kind = "z" if mark == 0 else "g"
        parts.append(f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{mark:,.10g}", "end"))
    return parts


def _text(x: float, y: float, said: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_escaped(said)}</text>'


def _picture(title: str, parts: Sequence[str]) -> str:
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{_escaped(title)}">'
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    name = f'<text class="t" x="{_LEFT}" y="26">{_escaped(title)}</text>'
    return "\n".join([head, f"<style>{_STYLE}</style>", ground, name, *parts, "</svg>"])


def _escaped(text: str) -> str:
    """Text from a table cannot become a part of the picture; what XML cannot hold at all is left out."""
    return escape("".join(c for c in text if c >= " "))
