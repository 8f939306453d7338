# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a benchmark yields: rows of samples, and the three forms in which they are shown: table, JSON, SVG."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Dict, List, Mapping, Sequence

OURS = "weft"
"""The subject that goals are about; another one is whatever `--peer` names."""


@dataclass
class Row:
    """One figure. samples: by subject, one for each round, in the order of the rounds.

    goal: what the median of ours should not exceed (or, with at_least, not fall below); 0: none was set.
    """

    what: str
    unit: str
    goal: float = 0.0
    at_least: bool = False
    samples: Dict[str, List[float]] = field(default_factory=dict)

    def add(self, subject: str, sample: float) -> None:
        self.samples.setdefault(subject, []).append(sample)

    def ratio(self, subject: str) -> float:
        """Ours to another's: the median of the ratios inside each round."""
        pairs = zip(self.samples[OURS], self.samples[subject])
        return statistics.median(ours / other for ours, other in pairs if other)


@dataclass(frozen=True)
class Result:
    """A section that was measured. about: how, in a sentence."""

    name: str
    title: str
    about: str
    rows: Sequence[Row]


def format_table(result: Result) -> str:
    """As Markdown: median, and in brackets the smallest and the largest sample."""
    others = list(dict.fromkeys(name for row in result.rows for name in row.samples if name != OURS))
    head = ["figure", "unit", OURS, "goal", *(cell for name in others for cell in (name, f"{OURS} to it"))]
    lines = [f"### {result.title}", "", result.about, "", _join(head), _join(["---"] * len(head))]
    for row in result.rows:
        sign = ">=" if row.at_least else "<="
        cells = [
            row.what,
            row.unit,
            _spread(row.samples.get(OURS, [])),
            f"{sign} {row.goal:g}" if row.goal else "",
        ]
        for name in others:
            has = name in row.samples
            cells += [_spread(row.samples.get(name, [])), f"{row.ratio(name):.2f}" if has else ""]
        lines.append(_join(cells))
    return "\n".join(lines)


def _join(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(samples: Sequence[float]) -> str:
    if not samples:
        return ""
    return f"{_short(statistics.median(samples))} ({_short(min(samples))}-{_short(max(samples))})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def write_json(result: Result, machine: Mapping[str, str], path: Path) -> None:
    """Everything, so that a later run can be compared with it."""
    path.write_text(json.dumps({"machine": dict(machine), **asdict(result)}, indent=1) + "\n")


_WIDTH, _LABELS, _LINE = 900, 400, 22
_COLOURS = ("#2b6cb0", "#b7791f", "#4a5568")


def write_svg(result: Result, path: Path) -> None:
    """Bars of the medians with their spread, each row to its own scale; a red line where the goal is."""
    subjects = list(dict.fromkeys(name for row in result.rows for name in row.samples))
    bars: List[str] = []
    y = 50
    for row in result.rows:
        bars.append(_text(_LABELS - 8, y + 15, f"{row.what}, {row.unit}", "end"))
        full = max([row.goal, *(max(samples) for samples in row.samples.values())]) or 1.0
        scale = (_WIDTH - _LABELS - 90) / full
        top = y
        for subject, samples in row.samples.items():
            colour = _COLOURS[subjects.index(subject) % len(_COLOURS)]
            middle, low, high = statistics.median(samples), min(samples), max(samples)
            bars.append(_rect(_LABELS, y + 3, middle * scale, _LINE - 6, colour))
            bars.append(_rect(_LABELS + low * scale, y + _LINE / 2 - 1, (high - low) * scale, 2, "#1a202c"))
            bars.append(_text(_LABELS + high * scale + 6, y + 15, _short(middle), "start"))
            y += _LINE
        if row.goal:
            bars.append(_rect(_LABELS + row.goal * scale - 1, top, 2, y - top, "#c53030"))
        y += 6
    legend = "; ".join([*(f"bar {number + 1}: {name}" for number, name in enumerate(subjects)), "red: goal"])
    head = [
        _text(10, 20, result.title, "start"),
        _text(10, 38, f"median, smallest to largest. {legend}", "start"),
    ]
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 10}" '
        'font-family="sans-serif" font-size="12">'
    )
    white = _rect(0, 0, _WIDTH, y + 10, "#ffffff")
    path.write_text("\n".join([opening, white, *head, *bars, "</svg>"]) + "\n")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" fill="{colour}"/>'
    )
