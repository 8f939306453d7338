#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_network
short_description: Manage the network config that flanneld reads from etcd
description:
  - Writes the JSON network config below O(prefix), or removes it.
  - The options are the whole config. A key that etcd holds and the options do not set is removed, so that
    flanneld's default holds. What is set is written, nothing else, in the form that upstream's flanneld reads
    too.
  - The config is checked with flanneld's own rules before anything is written.
  - Two configs that mean the same are the same, however they are spelled. The key is written only if it has
    not changed since it was read (compare-and-swap).
  - A change that cuts live leases or separates hosts from each other is refused, in check mode too, unless
    O(allow_disruptive=true).
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.actiongroup_etcd
  - weft.flannel._etcd
attributes:
  check_mode:
    support: full
    details:
      - On a host without the Python library, check mode warns and shows the config as if etcd were empty, so
        that a play that would install the library first completes.
  diff_mode:
    support: full
    details:
      - Secrets are hidden. V((hidden, new\)) marks one that would change.
  idempotent:
    support: full
  platform:
    support: full
options:
  state:
    description:
      - V(present) makes the config what the options say.
      - V(absent) removes it. flanneld keeps running on the config it has read, but does not start without
        one.
    type: str
    choices: [present, absent]
    default: present
  allow_disruptive:
    description: Make a change even if it cuts the leases that are returned as RV(disruptions).
    type: bool
    default: false
  config:
    description:
      - The whole config as upstream's JSON, instead of the options one by one.
      - Keys that flannel does not know are not written. They appear in the diff and in RV(unknown_keys).
      - A C(PSK) or C(AccessKeySecret) is not accepted here, because this option is shown in logs. Use
        O(backend).
    type: dict
  enable_ipv4:
    description: Give hosts IPv4 subnets. Not set means V(true).
    type: bool
    aliases: [EnableIPv4]
  enable_ipv6:
    description: Give hosts IPv6 subnets. Not set means V(false).
    type: bool
    aliases: [EnableIPv6]
  enable_nftables:
    description: Let flanneld program nftables instead of iptables. Not set means V(false).
    type: bool
    aliases: [EnableNFTables]
  network:
    description: >-
      The IPv4 network that all subnets are taken from, in CIDR notation. Required unless
      O(enable_ipv4=false).
    type: str
    aliases: [Network]
  subnet_len:
    description:
      - Prefix length of the IPv4 subnet of each host, at most 30 and at least the one of O(network) plus 2.
      - Not set means 24 for a O(network) of /22 and shorter, else the one of O(network) plus 2.
    type: int
    aliases: [SubnetLen]
  subnet_min:
    description: >-
      Address of the first subnet that hosts are given. Not set means the second subnet of O(network).
    type: str
    aliases: [SubnetMin]
  subnet_max:
    description: Address of the last subnet that hosts are given. Not set means the last subnet of O(network).
    type: str
    aliases: [SubnetMax]
  ipv6_network:
    description: >-
      The IPv6 network that all subnets are taken from, in CIDR notation. Required if O(enable_ipv6=true).
    type: str
    aliases: [IPv6Network]
  ipv6_subnet_len:
    description:
      - Prefix length of the IPv6 subnet of each host, at most 126 and at least the one of O(ipv6_network)
        plus 2.
      - Not set means 64 for an O(ipv6_network) of /62 and shorter, else the one of O(ipv6_network) plus 2.
    type: int
    aliases: [IPv6SubnetLen]
  ipv6_subnet_min:
    description: >-
      Address of the first IPv6 subnet that hosts are given. Not set means the second subnet of
      O(ipv6_network).
    type: str
    aliases: [IPv6SubnetMin]
  ipv6_subnet_max:
    description: >-
      Address of the last IPv6 subnet that hosts are given. Not set means the last subnet of O(ipv6_network).
    type: str
    aliases: [IPv6SubnetMax]
  backend:
    description:
      - How packets get from host to host.
      - Not set means V(udp), as for upstream's flanneld, which is slow. Set it.
      - A suboption that does not belong to O(backend.type) is an error.
    type: dict
    aliases: [Backend]
    suboptions:
      type:
        description: >-
          Which backend. V(vxlan) suits most clusters. V(ipip) carries IPv4 only; V(extension) runs commands as root, on
          hosts that allow it. The last releases of upstream that have V(aws-vpc), V(gce) and V(ali-vpc) are those
          before 0.20.
        type: str
        required: true
        choices: [ali-vpc, alloc, aws-vpc, extension, gce, host-gw, ipip, ipsec, tencent-vpc, udp, vxlan, wireguard]
        aliases: [Type]
      vni:
        description: >-
          V(vxlan): the VXLAN network identifier, which is also the number in the name of the device. Not set
          means V(1).
        type: int
        aliases: [VNI]
      port:
        description: >-
          V(vxlan): the UDP port, not set means the kernel's choice, which is 8472. V(udp): the UDP port, not
          set means V(8285).
        type: int
        aliases: [Port]
      mtu:
        description: >-
          V(vxlan), V(wireguard): the MTU of the hosts' network, before what the backend takes off for itself.
          Not set means that of the external interface.
        type: int
        aliases: [MTU]
      gbp:
        description: >-
          V(vxlan): carry group based policy. Not set means V(false).
        type: bool
        aliases: [GBP]
      learning:
        description: >-
          V(vxlan): let the kernel learn MAC addresses. Not set means V(false).
        type: bool
        aliases: [Learning]
      direct_routing:
        description: >-
          V(vxlan), V(ipip): route to hosts in the same network directly, without encapsulation. Not set means
          V(false).
        type: bool
        aliases: [DirectRouting]
      listen_port:
        description: >-
          V(wireguard): the UDP port. Not set means V(51820).
        type: int
        aliases: [ListenPort]
      listen_port_v6:
        description: >-
          V(wireguard): the UDP port of the separate IPv6 device. Not set means V(51821).
        type: int
        aliases: [ListenPortV6]
      psk:
        description: >-
          V(wireguard): the pre-shared key, base64 of 32 bytes. V(ipsec): the pre-shared key, at least 96
          characters. Whoever may read the config in etcd can read it.
        type: str
        aliases: [PSK]
      persistent_keepalive_interval:
        description: >-
          V(wireguard): seconds between keepalive packets. Not set means none are sent.
        type: int
        aliases: [PersistentKeepaliveInterval]
      mode:
        description: >-
          V(wireguard): V(separate), V(auto), V(ipv4) or V(ipv6). Not set means V(separate).
        type: str
        aliases: [Mode]
      udp_encap:
        description: >-
          V(ipsec): put ESP into UDP packets. Not set means V(false).
        type: bool
        aliases: [UDPEncap]
      esp_proposal:
        description: >-
          V(ipsec): the ESP proposal. Not set means V(aes128gcm16-sha256-prfsha256-ecp256).
        type: str
        aliases: [ESPProposal]
      pre_startup_command:
        description: >-
          V(extension): the command to run before the lease is made. Its output is published in the lease.
        type: str
        aliases: [PreStartupCommand]
      post_startup_command:
        description: >-
          V(extension): the command to run after the lease is made.
        type: str
        aliases: [PostStartupCommand]
      subnet_add_command:
        description: >-
          V(extension): the command to run for each host that appears.
        type: str
        aliases: [SubnetAddCommand]
      subnet_remove_command:
        description: >-
          V(extension): the command to run for each host that goes.
        type: str
        aliases: [SubnetRemoveCommand]
      access_key_id:
        description: >-
          V(tencent-vpc), V(ali-vpc): the id of the access key. Not set means C(ACCESS_KEY_ID) in flanneld's
          environment.
        type: str
        aliases: [AccessKeyID]
      access_key_secret:
        description: >-
          V(tencent-vpc), V(ali-vpc): the access key. Not set means C(ACCESS_KEY_SECRET) in flanneld's
          environment, which is the better place for it.
        type: str
        aliases: [AccessKeySecret]
      route_table_id:
        description: >-
          V(aws-vpc): the route tables to write to. Not set means that of the host's subnet.
        type: list
        elements: str
        aliases: [RouteTableID]
seealso:
  - module: weft.flannel.flannel_network_info
  - name: flannel's own description of the config
    description: Configuration, in upstream's documentation.
    link: https://github.com/flannel-io/flannel/blob/master/Documentation/configuration.md
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: One network for all hosts, over VXLAN
  weft.flannel.flannel_network:
    endpoints:
      - http://192.0.2.10:2379
    network: 10.5.0.0/16
    backend:
      type: vxlan
  run_once: true
  delegate_to: store.example.com

- name: Show what would change, and which leases it would cut
  weft.flannel.flannel_network:
    network: 10.5.0.0/16
    subnet_len: 25
    backend:
      type: vxlan
      vni: 2
      direct_routing: true
    allow_disruptive: true
  check_mode: true
  diff: true

- name: Both families, in an etcd cluster with TLS
  weft.flannel.flannel_network:
    endpoints:
      - https://192.0.2.10:2379
      - https://192.0.2.11:2379
      - https://192.0.2.12:2379
    ca_cert: /etc/ssl/etcd/ca.crt
    client_cert: /etc/ssl/etcd/client.crt
    client_key: /etc/ssl/etcd/client.key
    network: 10.5.0.0/16
    enable_ipv6: true
    ipv6_network: 2001:db8:5::/48
    backend:
      type: host-gw

- name: An existing JSON file, as it is
  weft.flannel.flannel_network:
    config: "{{ lookup('ansible.builtin.file', 'network.json') | from_json }}"

- name: The config of a network that no host uses any more
  weft.flannel.flannel_network:
    prefix: /networks/old
    state: absent
"""

RETURN = r"""
key:
  description: The etcd key of the config.
  type: str
  returned: success
  sample: /coreos.com/network/config
exists:
  description: Whether the key exists, or would exist in check mode.
  type: bool
  returned: success
  sample: true
config:
  description:
    - The config in force, with all defaults, under the names of the options. V(null) with O(state=absent).
    - Values that depend on the host are V(null), secrets are V((hidden\)).
  type: dict
  returned: success
  sample:
    backend:
      direct_routing: false
      gbp: false
      learning: false
      mtu: null
      port: 0
      type: vxlan
      vni: 1
    enable_ipv4: true
    enable_ipv6: false
    enable_nftables: false
    ipv6_network: null
    ipv6_subnet_len: null
    ipv6_subnet_max: null
    ipv6_subnet_min: null
    network: 10.5.0.0/16
    subnet_len: 24
    subnet_max: 10.5.255.0
    subnet_min: 10.5.1.0
raw:
  description: The text of the key, with secrets hidden. V(null) with O(state=absent).
  type: str
  returned: success
  sample: '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
revision:
  description: >-
    The etcd revision in which the key was last written, V(0) if it does not exist. In check mode the one
    before the change.
  type: int
  returned: success
  sample: 17
unknown_keys:
  description: >-
    Keys that flannel does not know, in etcd before the change or in O(config). A dot separates the levels.
  type: list
  elements: str
  returned: success
  sample: [Backend.Vni2]
disruptions:
  description: What the change cuts. Empty if nothing. Returned on refusal too.
  type: list
  elements: dict
  returned: success or refusal
  contains:
    option:
      description: The key of the config that changes, C(config) when all of it goes or comes.
      type: str
      sample: SubnetLen
    before:
      description: Its value before, with defaults. Secrets are V((hidden\)).
      type: raw
      sample: 24
    after:
      description: Its value after, with defaults. Secrets are V((hidden\)).
      type: raw
      sample: 25
    leases:
      description: The leases that do not survive the change.
      type: list
      elements: dict
      contains:
        key:
          description: The etcd key of the lease.
          type: str
          sample: /coreos.com/network/subnets/10.5.34.0-24
        public_ip:
          description: The IPv4 address of the host that holds it, V(null) if it has none.
          type: str
          sample: 192.0.2.11
        public_ipv6:
          description: The IPv6 address of the host that holds it, V(null) if it has none.
          type: str
          sample: 2001:db8::11
error:
  description: >-
    The kind of failure, for plays that treat them differently, for example V(StoreUnavailable) or
    V(ConfigError).
  type: str
  returned: failure
  sample: StoreUnavailable
subject:
  description: What the failure is about.
  type: str
  returned: failure
  sample: network config
cause:
  description: What is wrong with it.
  type: str
  returned: failure
  sample: SubnetLen must be less than /31
next_step:
  description: What to do about it.
  type: str
  returned: failure
  sample: correct the network config
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._change import (
    Change,
    DisruptionRefused,
    apply_wanted,
    describe_change,
    describe_cuts,
    plan_change,
    read_wanted,
    refuse_cuts,
)
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    REQUIRED_TOGETHER,
    connected_store,
    failure_of,
    run_module,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreLibraryMissing
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout
from ansible_collections.weft.flannel.plugins.module_utils._network import NOTHING_STORED
from ansible_collections.weft.flannel.plugins.module_utils._options import network_spec


def apply_network(module: AnsibleModule) -> Dict[str, Any]:
    """The return values, after the network config is what the options say (in check mode: would be)."""
    wanted = read_wanted(module.params)
    layout = Layout.from_prefix(module.params["prefix"])
    if wanted.unknown:
        module.warn(f"Not written, because flannel does not know them: {', '.join(wanted.unknown)}")

    def is_allowed(change: Change) -> bool:
        if not module.params["allow_disruptive"]:
            refuse_cuts(change, layout.config)
        return not module.check_mode

    try:
        with connected_store(module.params) as store:
            change, revision = apply_wanted(store, layout, wanted, is_allowed)
    except StoreLibraryMissing as error:
        if not module.check_mode:
            raise
        module.warn(f"{error}. Check mode shows the change as if etcd were empty.")
        change, revision = plan_change(NOTHING_STORED, wanted), 0
    except DisruptionRefused as error:
        module.fail_json(**failure_of(error), disruptions=describe_cuts(layout, error.cuts))
    return describe_change(layout, change, revision)


def main() -> None:
    """Run the module."""
    network_options = network_spec()
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_SPEC,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "allow_disruptive": {"type": "bool", "default": False},
            "config": {"type": "dict"},
            **network_options,
        },
        mutually_exclusive=[("config", option) for option in network_options],
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: apply_network(module))


if __name__ == "__main__":
    main()
