# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast it is, on the machine this runs on: `make bench`, or `python3 -m tests.bench [SECTION...]`.

Prints a table for each section, and writes it as JSON and as a plot (SVG) to build/bench. Not a test: a loaded machine
makes the figures worse, and nothing wrong. In every round each case is measured once, so that what disturbs one
disturbs its neighbours.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import time
from pathlib import Path
from typing import Callable, Dict, Mapping

importlib.import_module("tests.conftest")  # makes the collection importable
from tests.bench import allocation, control_plane, data_path
from tests.bench.daemon import list_subjects
from tests.bench.results import Result, format_table, write_json, write_svg
from tests.bench.settings import Settings
from tests.support.agent import ROOT, build_bundle
from tests.support.netns import enter_private_namespaces

SECTIONS: Dict[str, Callable[[Settings], Result]] = {
    "data-path": data_path.measure,
    "control-plane": control_plane.measure,
    "allocation": allocation.measure,
}
"""Each measures what it is about, in as many rounds as the settings say; it finds private namespaces and a bundle."""


def describe_machine() -> Mapping[str, str]:
    return {
        "processors": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m tests.bench", description="measures flanneld")
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all by default"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each case is measured (%(default)s)")
    parser.add_argument("--peer", default="", help="a flanneld that is run beside it, with the same flags")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="directory (%(default)s)")
    given = parser.parse_args()
    unknown = sorted(set(given.sections) - SECTIONS.keys())
    if unknown:
        parser.error(f"there is no section {', '.join(unknown)}; there are: {', '.join(SECTIONS)}")
    machine = describe_machine()
    given.out.mkdir(parents=True, exist_ok=True)
    build_bundle()
    enter_private_namespaces()
    settings = Settings(given.rounds, list_subjects(given.peer))
    print(", ".join(f"{name}: {value}" for name, value in machine.items()) + "\n")
    for name in given.sections or SECTIONS:
        result = SECTIONS[name](settings)
        print(format_table(result) + "\n", flush=True)
        write_json(result, machine, given.out / f"{name}.json")
        write_svg(result, given.out / f"{name}.svg")


if __name__ == "__main__":
    main()
