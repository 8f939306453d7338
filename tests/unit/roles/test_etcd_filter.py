# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run sees that the kernel has another filter than the one of the template: asked of a real kernel."""

from __future__ import annotations

import subprocess
from typing import Any

from tests.support.rendering import evaluate, render

VARIABLES: dict[str, Any] = {"etcd_client_address": "192.0.2.1", "etcd_admitted_addresses": ["198.51.100.7"]}


def see_filter(*loaded: str) -> dict[str, Any]:
    """What the role's task registers after these were loaded, one after the other."""
    script = (
        'for file; do printf %s "$file" | nft -f - || exit 99; done; exec nft list table inet etcd_admission'
    )
    run = subprocess.run(
        ["unshare", "-Urn", "sh", "-c", script, "sh", *loaded], capture_output=True, text=True, check=False
    )
    assert run.returncode in (0, 1), run.stderr
    return {"rc": run.returncode, "stdout": run.stdout}


def is_in_force(filter_: dict[str, Any], **changed: Any) -> bool:
    (answer,) = evaluate("etcd", {**VARIABLES, **changed, "__etcd_filter": filter_}, "__etcd_filter_in_force")
    return bool(answer)


def test_only_the_filter_as_it_is_to_be_is_in_force() -> None:
    (text,) = render("etcd", ["admission.nft"], {"n1": VARIABLES})
    assert is_in_force(see_filter(text))
    assert is_in_force(see_filter(text, text))
    assert not is_in_force(see_filter())


def test_a_run_that_ended_before_it_loaded_what_it_wrote_is_noticed() -> None:
    (text,) = render("etcd", ["admission.nft"], {"n1": VARIABLES})
    older = see_filter(text)
    assert not is_in_force(older, etcd_admitted_addresses=["198.51.100.8"])


def test_a_filter_of_a_release_that_left_no_comment_is_another_one() -> None:
    (text,) = render("etcd", ["admission.nft"], {"n1": VARIABLES})
    bare = "\n".join(line for line in text.splitlines() if "comment" not in line)
    assert not is_in_force(see_filter(bare))
