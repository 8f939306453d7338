# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_interface_info where iproute2 does not play along; the rest is in tests/contract_modules."""

from __future__ import annotations

from typing import Any, Dict, Sequence, Tuple

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import InterfaceError
from ansible_collections.weft.flannel.plugins.modules.flannel_interface_info import choose

PARAMS: Dict[str, Any] = {
    "iface": [],
    "iface_regex": [],
    "iface_can_reach": "",
    "public_ip": "",
    "public_ipv6": "",
    "families": ["ipv4"],
}


def test_an_ip_that_knows_no_json() -> None:
    def busybox(arguments: Sequence[str]) -> Tuple[int, str, str]:
        return 1, "", "ip: invalid argument '-j' to 'ip'\n"

    with pytest.raises(InterfaceError) as caught:
        choose(PARAMS, busybox)
    assert "invalid argument '-j'" in caught.value.cause
    assert "5.10" in caught.value.next_step


def test_an_ip_that_prints_something_else() -> None:
    with pytest.raises(InterfaceError):
        choose(PARAMS, lambda arguments: (0, "1: lo: <LOOPBACK>", ""))
