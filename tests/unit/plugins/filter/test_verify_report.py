# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of weft.flannel.verify in a browser. Its screenshots stay in build/report, to be looked at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.weft.flannel.plugins.filter.build_verification import build
from ansible_collections.weft.flannel.plugins.filter.render_verification import render
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.findings import Cluster

ROOT = Path(__file__).resolve().parents[4]
TEMPLATE = str(ROOT / "roles/flannel_verify/templates/report.html.j2")
SHOTS = ROOT / "build" / "report"
NAMES = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]
HOSTILE = '<img src=x onerror="document.title=1">\'"&{{ 7*7 }}</style><script>document.title=2</script>'


def write_page(cluster: Cluster, path: Path) -> Path:
    report = build(cluster.findings, generated="2026-01-02 03:04:05 UTC")
    path.write_text(render(report, TEMPLATE), encoding="utf-8")
    return path


def damaged() -> Cluster:
    """One of each: no forwarding, one direction, masquerading, a small MTU, unreachable, not ready."""
    cluster = Cluster(*(f"node{number}" for number in range(1, 9)))
    for other in list(cluster.hosts):
        if other != "node2":
            cluster.lose_question("node2", other, host_reached=True)
            cluster.lose_question(other, "node2")
        if other not in ("node2", "node4"):
            cluster.answer("node4", other)["seen_as"] = "192.0.2.4"
    cluster.lose_question("node1", "node3")
    cluster.lose_answer("node3", "node1")
    cluster.answer("node5", "node6")["mtu"] = 1337
    cluster.hosts["node7"][1:] = [{}, {}, {}, {}]
    cluster.change_status(
        "node8", ready=False, not_ready=["route 10.42.1.0/24 is missing; see: flanneld check"]
    )
    return cluster


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program is not None, "these tests need a Chromium: tools/setup installs Debian's"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test if it asks for anything but itself or says anything on the console."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    # In milliseconds. A picture of a hundred hosts takes half a minute on a machine that is busy with other tests.
    page.set_default_timeout(240_000)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    page.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1


def shoot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def is_legible(page: Page, selector: str) -> bool:
    """Whether text and ground differ by the 4.5 to 1 of WCAG AA."""
    ratio: float = page.evaluate(
        """selector => {
            const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
            const light = colour => {
                canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
                const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(
                    v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const element = document.querySelector(selector);
            let ground = element;
            while (getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;
            const pair = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(light).sort();
            return (pair[1] + 0.05) / (pair[0] + 0.05);
        }""",
        selector,
    )
    return ratio >= 4.5


def test_what_fails_is_told_in_words(page: Page, tmp_path: Path) -> None:
    page.goto(write_page(damaged(), tmp_path / "report.html").as_uri())
    assert page.title().startswith("FAILED")
    heads = page.locator(".matrix tbody th").all_inner_texts()
    assert heads == [f"node{number}" for number in range(1, 9)]
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator(".matrix tbody tr").all()]
    cells = {row[0]: row[1:9] for row in rows}
    assert cells["node1"][1] == "LOST"
    assert cells["node3"][0] == "NO RETURN"
    assert cells["node4"][0] == "NAT"
    assert cells["node5"][5] == "MTU 1337"
    assert cells["node7"][0] == "\u2013"
    assert cells["node1"][3].split() == ["0.25", "1450"]
    assert len(page.locator("section[aria-labelledby=problems] li").all()) == 6
    assert page.locator("svg line.bad").count() > 0
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for selector in (
            ".banner",
            ".next",
            ".matrix td.good",
            ".matrix td.bad",
            ".matrix td.note",
            "dt",
            ".tag.bad",
        ):
            assert is_legible(page, selector), (scheme, selector)
        shoot(page, f"failed-{scheme}")
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shoot(page, "failed-print")
    page.pdf(path=SHOTS / "failed.pdf", prefer_css_page_size=True)
    page.emulate_media(color_scheme="light", media="screen")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shoot(page, "failed-narrow")


def test_all_well(page: Page, tmp_path: Path) -> None:
    page.goto(
        write_page(Cluster("n1", "n2", "n3", families=("ipv4", "ipv6")), tmp_path / "report.html").as_uri()
    )
    assert page.title().startswith("Passed")
    assert page.locator("#problems").count() == 0
    assert page.locator(".matrix").count() == 2
    assert page.locator(".matrix td.good").count() == 12
    shoot(page, "passed")


def test_a_hundred_hosts(page: Page, tmp_path: Path) -> None:
    cluster = Cluster(*(f"node{number:03d}" for number in range(1, 101)))
    cluster.lose_question("node007", "node042")
    cluster.lose_answer("node042", "node007")
    page.goto(write_page(cluster, tmp_path / "report.html").as_uri())
    assert page.locator(".matrix tbody tr").count() == 100
    assert page.locator(".matrix tbody tr").nth(6).locator("td.bad").all_inner_texts() == ["L"]
    # One row fits the height of a line, and the matrix the width of a wide screen.
    assert page.locator(".matrix").evaluate("table => table.scrollWidth") < 2800
    page.set_viewport_size({"width": 1900, "height": 1000})
    shoot(page, "hundred")
    page.locator(".scroll").first.screenshot(path=SHOTS / "hundred-matrix.png")


def hostile(value: Any) -> Any:
    """The same with every text made an attack, but for keys and what the template compares with."""
    if isinstance(value, dict):
        return {
            key: item if key in ("verdict", "family", "state") else hostile(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


def test_nothing_from_a_host_gets_into_the_page(page: Page, tmp_path: Path) -> None:
    report = hostile(json.loads(json.dumps(build(damaged().findings, left_out=["n9"]))))
    text = render(report, TEMPLATE)
    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    assert "<img" not in text
    assert "<script" not in text
    page.goto(path.as_uri())
    assert page.locator("img, script").count() == 0
    assert HOSTILE in page.locator(".host h3").first.inner_text()
