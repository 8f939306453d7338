# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be let in through a host's firewall. The options are WANTED_SPEC of module_utils/_host_firewall.py."""

from __future__ import annotations


class ModuleDocFragment:
    """The options that the writer and its sibling share."""

    DOCUMENTATION = r"""
options:
  name:
    description: >-
      What the openings are called on the host. Those of another name, and rules of anybody else, are not touched.
      Openings for different purposes (two networks, etcd) need different names, of at most 15 lower-case letters,
      digits and dashes.
    type: str
    default: flannel
  manager:
    description:
      - The program that manages the host's firewall.
      - V(auto) takes the one that is active. Without one nothing is closed, as far as this module knows, and nothing
        is done.
      - A ruleset of your own, loaded by C(nftables.service) or otherwise, is yours to open.
    type: str
    choices: [auto, firewalld, ufw]
    default: auto
  config:
    description:
      - The network config, as in O(weft.flannel.flannel_network#module:config), from which follows what its backend
        needs. Leave out secrets.
      - With firewalld, what comes from or goes to its networks is also accepted in forwarding. With ufw that is left
        to flanneld, whose rules come before ufw's.
    type: dict
  ports:
    description: What hosts are let in to besides, such as V(2379/tcp).
    type: list
    elements: str
    default: []
  hosts:
    description: >-
      The addresses of the hosts that are let in, or networks of them. Those of a family that O(config) does not use are
      passed over.
    type: list
    elements: str
    default: []
requirements:
  - firewalld 0.9 or later with its command C(firewall-cmd), or ufw 0.36 or later, if the host has one of them.
"""
