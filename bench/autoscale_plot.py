"""A time line of bench.autoscale as an SVG: replicas and what was asked for as steps, what is left to do as a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

_WIDE, _HIGH, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 320, 50, 60, 40, 40
_FONT = 'font-family="sans-serif" font-size="12"'
_COLOURS = {"replicas": "#1f6feb", "desired": "#8b949e", "left": "#d1242f"}


def svg(story: dict[str, Any]) -> str:
    """The drawing. Pure."""
    lines = story["lines"]
    end = max(line["at"] for line in lines) or 1
    most = max(story["most"], *(line["replicas"] for line in lines))
    x = _scale(end, _LEFT, _WIDE - _RIGHT)
    y = _scale(most, _HIGH - _BOTTOM, _TOP)
    rest = _scale(story["tasks"], _HIGH - _BOTTOM, _TOP)
    replicas = _steps([(line["at"], line["replicas"]) for line in lines], x, y)
    desired = _steps([(line["at"], min(line["desired"], most)) for line in lines if line["desired"] is not None], x, y)
    left = " ".join(f"{x(line['at']):.1f},{rest(story['tasks'] - line['done']):.1f}" for line in lines)
    title = f"{story['mode'].upper()}: a burst of {story['tasks']} tasks, at most {story['most']} workers"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {_HIGH}" {_FONT}>',
        f'<rect width="{_WIDE}" height="{_HIGH}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{title}</text>',
        *_grid(end, most, story, x, y),
        f'<polyline points="{desired}" fill="none" stroke="{_COLOURS["desired"]}" stroke-dasharray="4 3"/>',
        f'<polyline points="{left}" fill="none" stroke="{_COLOURS["left"]}" stroke-width="1.5"/>',
        f'<polyline points="{replicas}" fill="none" stroke="{_COLOURS["replicas"]}" stroke-width="2"/>',
        *_legend(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _scale(top: float, low: float, high: float) -> Callable[[float], float]:
    return lambda value: low + (high - low) * value / top


def _steps(points: Sequence[tuple[float, float]], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    found, before = [], None
    for at, value in points:
        if before is not None and value != before:
            found.append(f"{x(at):.1f},{y(before):.1f}")
        found.append(f"{x(at):.1f},{y(value):.1f}")
        before = value
    return " ".join(found)


def _grid(
    end: float, most: int, story: dict[str, Any], x: Callable[[float], float], y: Callable[[float], float]
) -> list[str]:
    found = [
        f'<text x="{x(second):.0f}" y="{_HIGH - 22}" text-anchor="middle">{second} s</text>'
        for second in range(0, int(end) + 1, 20)
    ]
    for n in range(0, most + 1, 2):
        found.append(f'<line x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y(n):.1f}" y2="{y(n):.1f}" stroke="#eaeef2"/>')
        found.append(f'<text x="{_LEFT - 8}" y="{y(n) + 4:.1f}" text-anchor="end">{n}</text>')
    target = x(story["target_s"])
    found.append(f'<line x1="{target:.1f}" x2="{target:.1f}" y1="{_TOP}" y2="{_HIGH - _BOTTOM}" stroke="#9a6700"/>')
    found.append(f'<text x="{target + 4:.1f}" y="{_TOP + 10}" fill="#9a6700">target</text>')
    found.append(f'<text x="{_WIDE - _RIGHT + 6}" y="{_TOP + 4}" fill="{_COLOURS["left"]}">{story["tasks"]}</text>')
    return found


def _legend() -> list[str]:
    words = (("replicas", "replicas"), ("desired", "asked for by the monitor"), ("left", "tasks left (right axis)"))
    return [
        f'<text x="{_LEFT + i * 200}" y="{_HIGH - 4}" fill="{_COLOURS[colour]}">{word}</text>'
        for i, (colour, word) in enumerate(words)
    ]
