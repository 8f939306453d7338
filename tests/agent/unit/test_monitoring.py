# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alert rules and the dashboard that we ship: they name metrics that exist, and fire when they should."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest
from flanneld.outputs.metrics import FIGURES, render_metrics

from tests.support.reports import make_report

ROOT = Path(__file__).resolve().parents[3]
FILES = ROOT / "roles" / "flannel" / "files" / "monitoring"
ALERTS = FILES / "alerts.yml"
DASHBOARD = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not here: Debian's package prometheus"
)

METRICS = {figure.name: set(figure.labels) for figure in FIGURES}
METRIC = re.compile(r"\b(?:flannel|process)_[a-z_]+")
OUTSIDE = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_open_fds",
    "process_max_fds",
}
"""What prometheus_client adds; test_metrics.py sees them."""


def list_expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def list_rules() -> list[tuple[str, str]]:
    text = ALERTS.read_text(encoding="utf-8")
    return re.findall(r"- alert: (\w+)\n +expr: (.+)\n", text)


def strip_labels(expression: str) -> str:
    return re.sub(r"\{[^}]*\}|\bby \([^)]*\)", "", expression)


# --- names


def test_the_rules_name_metrics_that_exist():
    assert list_rules()
    for _name, expression in list_rules():
        assert set(METRIC.findall(strip_labels(expression))) <= set(METRICS) | OUTSIDE


def test_the_dashboard_shows_every_metric_and_no_other():
    shown = {name for expression in list_expressions() for name in METRIC.findall(strip_labels(expression))}
    assert shown - OUTSIDE == set(METRICS)


def test_labels_exist():
    selectors = [
        found
        for text in (*list_expressions(), *(expression for _name, expression in list_rules()))
        for found in re.findall(r"(flannel_[a-z_]+)\{([^}]*)\}", text)
    ]
    assert selectors
    for metric, labels in selectors:
        named = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", labels))
        assert named <= METRICS[metric] | {"instance", "job"}


def test_every_alert_says_what_to_do():
    text = ALERTS.read_text(encoding="utf-8")
    rules = re.split(r"\n      - alert: ", text)[1:]
    assert len(rules) == len(list_rules())
    for rule in rules:
        words = " ".join(rule.split())
        assert re.search(r"severity: (critical|warning|info) ", words)
        assert "summary: " in words
        assert "flanneld check" in words or "docs/status.md" in words, words


# --- the rules, by Prometheus itself


def run_promtool(*arguments: str, text: str = "") -> str:
    """text: what it reads from its stdin."""
    done = subprocess.run(
        [str(PROMTOOL), *arguments], input=text, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_promtool_accepts_the_rules():
    assert f"{len(list_rules())} rules found" in run_promtool("check", "rules", str(ALERTS))


@needs_promtool
def test_promtool_has_nothing_against_the_names_of_the_metrics():
    page, _content_type = render_metrics(make_report())
    run_promtool("check", "metrics", text=page.decode())


@needs_promtool
def test_promtool_accepts_the_expressions_of_the_dashboard(tmp_path):
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$host", ".*")}
        for number, expression in enumerate(list_expressions())
    ]
    path = tmp_path / "rules.yml"
    # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    run_promtool("check", "rules", str(path))


HEALTHY = {
    'up{job="flanneld",instance="a"}': "1x130",
    'process_start_time_seconds{job="flanneld",instance="a"}': "1000x130",
    'flannel_ready{instance="a"}': "1x130",
    'flannel_lease_held{instance="a"}': "1x130",
    'flannel_lease_remaining_seconds{instance="a"}': "86400-60x130",
    'flannel_lease_ttl_seconds{instance="a"}': "86400x130",
    'flannel_store_reachable{instance="a"}': "1x130",
    'flannel_store_from_disk{instance="a"}': "0x130",
    'flannel_store_watch_breaks_total{instance="a"}': "0x130",
    'flannel_peers{instance="a",state="peer"}': "7x130",
    'flannel_peers{instance="a",state="refused"}': "0x130",
    'flannel_peers{instance="a",state="kept"}': "0x130",
    'flannel_peers_broken{instance="a"}': "0x130",
    'flannel_unreadable_leases{instance="a"}': "0x130",
    'flannel_table_problems{instance="a",table="route"}': "0x130",
    'flannel_table_wrong{instance="a",table="route"}': "0x130",
    'flannel_table_repairs_total{instance="a",table="route"}': "0+0x130",
    'flannel_pending_steps{instance="a"}': "0x130",
}
"""One sample a minute, for two hours."""

TROUBLE = {
    "FlanneldDown": {'up{job="flanneld",instance="a"}': "0x130"},
    "FlanneldAbsent": {'up{job="flanneld",instance="a"}': "_x130"},
    "FlanneldRestarts": {'process_start_time_seconds{job="flanneld",instance="a"}': "1000+300x130"},
    "FlannelNotReady": {'flannel_ready{instance="a"}': "0x130"},
    "FlannelLeaseNotHeld": {'flannel_lease_held{instance="a"}': "0x130"},
    "FlannelLeaseRunsOut": {'flannel_lease_remaining_seconds{instance="a"}': "43199x130"},
    "FlannelLeaseEnds": {'flannel_lease_remaining_seconds{instance="a"}': "8639x130"},
    "FlannelStoreUnreachable": {'flannel_store_reachable{instance="a"}': "0x130"},
    "FlannelStoreFlaps": {'flannel_store_watch_breaks_total{instance="a"}': "0+0.2x130"},
    "FlannelRunsFromDisk": {
        'flannel_store_from_disk{instance="a"}': "1x130",
        'flannel_lease_held{instance="a"}': "0x130",
    },
    "FlannelLeasesRefused": {'flannel_peers{instance="a",state="refused"}': "1x130"},
    "FlannelPeersKept": {'flannel_peers{instance="a",state="kept"}': "1x130"},
    "FlannelUnreadableLeases": {'flannel_unreadable_leases{instance="a"}': "1x130"},
    "FlannelKernelRefuses": {'flannel_table_problems{instance="a",table="route"}': "1x130"},
    "FlannelPeersBroken": {'flannel_peers_broken{instance="a"}': "1x130"},
    "FlannelNotRepaired": {'flannel_table_wrong{instance="a",table="route"}': "1x130"},
    "FlannelDrift": {'flannel_table_repairs_total{instance="a",table="route"}': "0+0.5x130"},
    "FlannelStepPending": {'flannel_pending_steps{instance="a"}': "1x130"},
}
ALSO = {"FlannelLeaseEnds": ["FlannelLeaseRunsOut"]}


def evaluate(tmp_path: Path, series: dict[str, str], firing: list[str]) -> None:
    """Run promtool: after two hours of these samples exactly these alerts fire."""
    samples: list[dict[str, Any]] = [
        {"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)
    ]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "2h",
                "exp_samples": samples,
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}))
    run_promtool("test", "rules", str(path))


@needs_promtool
def test_nothing_fires_on_a_healthy_host(tmp_path):
    evaluate(tmp_path, HEALTHY, [])


@needs_promtool
def test_a_reservation_ends_never(tmp_path):
    evaluate(tmp_path, {name: values for name, values in HEALTHY.items() if "_seconds" not in name}, [])


@needs_promtool
@pytest.mark.parametrize("name", TROUBLE)
def test_each_alert_fires_for_its_trouble_and_for_no_other(tmp_path, name):
    evaluate(tmp_path, {**HEALTHY, **TROUBLE[name]}, [name, *ALSO.get(name, [])])


def test_every_alert_has_its_trouble():
    assert sorted(TROUBLE) == sorted(name for name, _expression in list_rules())


# --- the dashboard


def test_the_dashboard_can_be_imported():
    """What Grafana's classic model asks for."""
    assert DASHBOARD["id"] is None
    assert 8 <= len(DASHBOARD["uid"]) <= 40
    assert DASHBOARD["title"]
    assert DASHBOARD["schemaVersion"] >= 36
    variables = {variable["name"]: variable["type"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "host": "query"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__all"} == set(variables)


def test_every_panel_is_whole_and_covers_no_other():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] in ("stat", "timeseries", "table")
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(set(references)) == len(references)
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, f"{one} covers {other}"
