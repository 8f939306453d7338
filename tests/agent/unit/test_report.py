# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every field of the report: documented, shown, and shown where docs/status.md says.

A field that is added to the report without a row there, or a metric without one, fails here.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, Iterator, Optional, get_type_hints

import pytest
from flanneld.outputs.http import show_health, show_metrics, show_readiness, show_status
from flanneld.outputs.metrics import FIGURES
from flanneld.outputs.report import InterfaceReport, LeaseReport, Report, UdpReport
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.reports import make_report

ROOT = Path(__file__).resolve().parents[3]
ROW = re.compile(r"^\| `([a-z0-9_.\[\]]+)` \| (.*?) \| (.+?) \|", re.MULTILINE)
METRIC = re.compile(r"`(flannel_[a-z_]+)(?:\{([a-z0-9_]+)\})?`")


def list_fields(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field that is no part with fields of its own, as (path as documented, value)."""
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        name = f"{path}{field.name}"
        if dataclasses.is_dataclass(inner):
            yield from list_fields(inner, f"{name}.")
        elif isinstance(inner, tuple) and dataclasses.is_dataclass(inner[0]):
            yield from list_fields(inner[0], f"{name}[].")
        else:
            yield name, inner


def change_field(value: Any, path: str) -> Any:
    """The same report with another value at one path, in the first entry where the path goes through a list."""
    name, _dot, rest = path.partition(".")
    inner = getattr(value, name.removesuffix("[]"))
    if name.endswith("[]"):
        changed = (change_field(inner[0], rest), *inner[1:])
    elif rest:
        changed = change_field(inner, rest)
    elif isinstance(inner, bool):
        changed = not inner
    elif isinstance(inner, (int, float)):
        changed = inner + 1000
    elif isinstance(inner, str):
        changed = f"{inner}x"
    else:
        changed = (*inner, "one more")
    return dataclasses.replace(value, **{name.removesuffix("[]"): changed})


def measure(report: Report) -> dict[str, list[Any]]:
    return {figure.name: list(figure.read(report)) for figure in FIGURES}


REPORT = make_report()
FIELDS = dict(list_fields(REPORT))
DOCUMENTED = {
    path: METRIC.findall(metric)
    for path, metric, _meaning in ROW.findall((ROOT / "docs" / "status.md").read_text(encoding="utf-8"))
}


def test_no_two_figures_of_the_sample_are_equal():
    """Else a test could not see one shown as another."""
    figures = [value for value in FIELDS.values() if value != "" and not isinstance(value, bool)]
    assert len(set(map(str, figures))) == len(figures)
    counts = [
        len(value)
        for value in FIELDS.values()
        if isinstance(value, tuple) and value != REPORT.store.endpoints
    ]
    assert len(set(counts)) == len(counts)


def test_every_field_is_documented_and_every_documented_field_exists():
    assert set(DOCUMENTED) == set(FIELDS)


def test_every_metric_is_documented_and_every_documented_metric_exists():
    labels = {figure.name: set(figure.labels) for figure in FIGURES}
    named = {name for metrics in DOCUMENTED.values() for name, _label in metrics}
    assert named == set(labels)
    for metrics in DOCUMENTED.values():
        for name, label in metrics:
            assert not label or label in labels[name]


@pytest.mark.parametrize("path", FIELDS)
def test_a_field_shows_in_the_metrics_that_its_row_names_and_in_no_other(path):
    before, after = measure(REPORT), measure(change_field(REPORT, path))
    changed = {name for name in before if before[name] != after[name]}
    if path == "last_errors[].text":
        assert not changed  # its metric counts the entries: see test_metrics.py
    else:
        assert changed == {name for name, _label in DOCUMENTED[path]}


def find_in_json(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document[name.removesuffix("[]")]
        if name.endswith("[]"):
            document = document[0]
    return document


@pytest.mark.parametrize("path", FIELDS)
def test_each_field_of_the_json_is_what_the_report_says(path):
    answer = show_status(REPORT)
    assert answer.content_type == "application/json"
    shown = find_in_json(json.loads(answer.body), path)
    assert shown == (list(FIELDS[path]) if isinstance(FIELDS[path], tuple) else FIELDS[path])


def test_the_json_has_all_entries_and_nothing_else():
    document = json.loads(show_status(REPORT).body)
    assert list(document) == [field.name for field in dataclasses.fields(Report)]
    for name in ("peers", "tables", "udp_dropped", "last_errors"):
        assert document[name] == [dataclasses.asdict(entry) for entry in getattr(REPORT, name)]


def test_what_is_not_there_is_null():
    bare = dataclasses.replace(REPORT, lease=None, interface=None, peers=())
    document = json.loads(show_status(bare).body)
    assert (document["lease"], document["interface"], document["peers"]) == (None, None, [])


# Names from the kernel and texts from etcd: lone surrogates stand for bytes that are no UTF-8.
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from('\ud800\udcff\n\r\0"\\\u2028')), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SIMPLE = {
    str: TEXTS,
    int: st.integers(),
    float: NUMBERS,
    bool: st.booleans(),
    Optional[float]: st.none() | NUMBERS,
}


def draw(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that the report is made of."""
    if kind in SIMPLE:
        return SIMPLE[kind]
    if dataclasses.is_dataclass(kind):
        return st.builds(kind, **{name: draw(hint) for name, hint in get_type_hints(kind).items()})
    for part in (LeaseReport, InterfaceReport, UdpReport):
        if kind == Optional[part]:
            return st.none() | draw(part)
    (inner, _ellipsis) = kind.__args__
    return st.lists(draw(inner), max_size=3).map(tuple)


@settings(max_examples=50, deadline=None)
@given(draw(Report))
def test_whatever_a_report_says_every_page_can_be_made(report):
    assert show_health(report).status == 200
    assert show_readiness(report).status == (200 if report.ready else 503)
    if not report.ready:
        assert show_readiness(report).body.decode().count("\n") == 1 + len(report.not_ready)
    metrics = show_metrics(report)
    assert metrics.status == 200
    metrics.body.decode("utf-8")
    assert list(json.loads(show_status(report).body)) == [field.name for field in dataclasses.fields(Report)]
