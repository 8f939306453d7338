# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the templates come to, rendered by Ansible itself with the roles' own defaults and variables."""

from __future__ import annotations

import base64
import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from flanneld.instance import NAME, Instance

from tests.support.rendering import evaluate, render

ROOT = Path(__file__).resolve().parents[3]
ETCD: dict[str, Any] = {
    "etcd_client_address": "192.0.2.1",
    "etcd_scheme": "https",
    "__etcd_state": "existing",
    "__etcd_urls_by_name": {"n2": "https://192.0.2.2:2380", "n1": "https://192.0.2.1:2380"},
}
"""A member that joins another one."""
UNIT_FILES = [
    "flanneld.service", "docker.conf", "etcd-password.conf", "wireguard-psk.conf", "50-flannel.link",
    "10-flannel.network", "50-flannel.conf", "backend-udp.conf", "backend-ipsec.conf", "flannel-charon.service",
    "flannel-network.service", "flannel-network.path",
]  # fmt: skip
INSTANCES = ["default", "blue"]
GOLDEN = Path(__file__).parent / "golden"
FLANNEL_FILES = sorted(
    path.stem
    for path in (ROOT / "roles/flannel/templates").glob("*.j2")
    if path.stem not in ("renumber.txt", "report.txt")
)
ETCD_FILES = sorted(path.stem for path in (ROOT / "roles/etcd/templates").glob("*.j2"))
EVERYTHING: dict[str, Any] = {
    "flannel_etcd_endpoints": ["https://192.0.2.1:2379", "https://192.0.2.2:2379"],
    "flannel_etcd_prefix": "/other",
    "flannel_etcd_cafile": "/etc/ssl/ca.pem",
    "flannel_etcd_certfile": "/etc/ssl/cert.pem",
    "flannel_etcd_keyfile": "/etc/ssl/key.pem",
    "flannel_etcd_username": "flannel",
    "flannel_etcd_password": "correct-horse-battery",
    "flannel_wireguard_psk": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    "flannel_ipsec_psk": "incorrect-horse-battery",
    "flannel_instance": "blue",
    "flannel_iface": ["eth1", "192.0.2.7"],
    "flannel_iface_regex": r"^192\.0\.2\.\d+$",
    "flannel_iface_can_reach": "192.0.2.1",
    "flannel_public_ip": "203.0.113.7",
    "flannel_public_ipv6": "2001:db8::7",
    "flannel_firewall": "nftables",
    "flannel_ip_masq": False,
    "flannel_no_masquerade_cidrs": ["198.51.100.0/24", "2001:db8:9::/48"],
    "flannel_iptables_forward_rules": False,
    "flannel_blackhole_route": True,
    "flannel_lease_ttl": 3600,
    "flannel_lease_renew_margin": 10,
    "flannel_tx_checksum_offload": False,
    "flannel_healthz_ip": "192.0.2.9",
    "flannel_healthz_port": 8285,
    "flannel_log_format": "json",
    "flannel_allow_extension_commands": True,
    "flannel_extra_args": ["--v=1", '--x=a "quoted" word'],
    "flannel_ipv6_network": "2001:db8:43::/48",
    "flannel_podman": True,
}
"""Every variable that reaches flanneld, on a host whose interface takes routes from router advertisements."""


def settings(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def flags(text: str) -> list[str]:
    """FLANNEL_OPTIONS as systemd passes it on: unquoted as a line of the file, then split into words."""
    (value,) = shlex.split(settings(text)["FLANNEL_OPTIONS"])
    return shlex.split(value)


def test_two_variables_are_enough() -> None:
    variables = {"etcd_address": "192.0.2.1", "flannel_iface": "eth1"}
    (text,) = render("flannel", ["flanneld.env"], {"n1": variables})
    assert settings(text) == {
        "FLANNELD_ETCD_ENDPOINTS": "http://192.0.2.1:2379",
        "FLANNELD_ALLOW_EXTENSION_COMMANDS": "false",
        "FLANNELD_ETCD_PREFIX": "/coreos.com/network",
        "FLANNELD_FIREWALL": "auto",
        "FLANNELD_HEALTHZ_IP": "127.0.0.1",
        "FLANNELD_KEEP_SOURCE": "false",
        "FLANNELD_HEALTHZ_PORT": "0",
        "FLANNELD_IP_BLACKHOLE_ROUTE": "false",
        "FLANNELD_IP_MASQ": "true",
        "FLANNELD_IPTABLES_FORWARD_RULES": "true",
        "FLANNELD_LOG_FORMAT": "text",
        "FLANNELD_SUBNET_LEASE_RENEW_MARGIN": "60",
        "FLANNELD_SUBNET_LEASE_TTL": "86400",
        "FLANNELD_TX_CHECKSUM_OFFLOAD": "auto",
        "FLANNEL_OPTIONS": "'\"--iface=eth1\"'",
    }


def test_an_etcd_without_tls_is_left_without() -> None:
    (text,) = render("etcd", ["etcd.env"], {"n1": {"etcd_client_address": "192.0.2.1"}})
    assert "=https" not in text
    assert "CERT" not in text


@pytest.mark.parametrize(
    ("told", "https"),
    [
        ("HOME=/var/lib/etcd\0ETCD_LISTEN_CLIENT_URLS=https://192.0.2.1:2379\0ETCD_NAME=n1\0", True),
        ("HOME=/var/lib/etcd\0ETCD_LISTEN_CLIENT_URLS=http://192.0.2.1:2379\0ETCD_NAME=n1\0", False),
        ("ETCD_NAME=n1\nETCD_LISTEN_CLIENT_URLS=https://192.0.2.1:2379\n", True),
        ("ETCD_NAME=n1\n# ETCD_LISTEN_CLIENT_URLS=https://192.0.2.1:2379\n", False),
        ("", False),
    ],
)
def test_how_a_member_speaks_is_read_from_its_process_or_its_file(told: str, https: bool) -> None:
    content = base64.b64encode(told.encode()).decode()
    assert evaluate("etcd", {"__etcd_configured": {"content": content}}, "__etcd_says_https") == [https]


def test_a_member_tells_that_it_has_read_both_authorities() -> None:
    """While one is replaced; a run after one that was cut off restarts those that have not, and no other."""
    replacing = {**ETCD, "__etcd_trusts_besides": "c0ffee"}
    (text,) = render("etcd", ["etcd.env"], {"n1": replacing})
    as_process = "\0".join(f"{name}={value}" for name, value in settings(text).items())
    for told, besides in ((text, "c0ffee"), (as_process, "c0ffee"), ("ETCD_NAME=n1\n", ""), ("", "")):
        content = base64.b64encode(told.encode()).decode()
        assert evaluate("etcd", {"__etcd_configured": {"content": content}}, "__etcd_trusted_besides") == [
            besides
        ]
    assert "TRUSTS_BESIDES" not in render("etcd", ["etcd.env"], {"n1": ETCD})[0]


@pytest.mark.parametrize("former", ["FORMER\n", "FORMER"])
def test_members_trust_the_former_authority_and_then_the_new_one(former: str) -> None:
    """The first in the file is what a run after one that was cut off takes for the one to replace."""
    variables: dict[str, Any] = {"__etcd_ca": {"pem": former}, "__etcd_authority": {"certificate": "NEW\n"}}
    (both,) = evaluate("etcd", variables, "__etcd_both_authorities")
    assert both.splitlines() == ["FORMER", "NEW"]
    variables["__etcd_ca"]["pem"] = both
    assert evaluate("etcd", variables, "__etcd_both_authorities") == [both]
    variables["__etcd_authority"] = {"certificate": None}  # check mode, before it is made
    assert evaluate("etcd", variables, "__etcd_both_authorities") == [both]


OURS = "/etc/flanneld/tls"
THEIRS = {
    "flannel_etcd_cafile": "/a.pem",
    "flannel_etcd_certfile": "/b.pem",
    "flannel_etcd_keyfile": "/c.pem",
}


@pytest.mark.parametrize(
    ("variables", "issues", "files"),
    [
        ({"etcd_scheme": "http"}, False, ["", "", ""]),
        ({"etcd_scheme": "https"}, True, [f"{OURS}/ca.crt", f"{OURS}/client.crt", f"{OURS}/client.key"]),
        ({"etcd_scheme": "https", **THEIRS}, False, ["/a.pem", "/b.pem", "/c.pem"]),
        (
            {"flannel_etcd_endpoints": ["https://192.0.2.9:2379"], **THEIRS},
            False,
            ["/a.pem", "/b.pem", "/c.pem"],
        ),
        ({"flannel_etcd_endpoints": ["https://192.0.2.9:2379"]}, False, ["", "", ""]),
    ],
)
def test_certificates_that_are_named_come_before_those_of_the_role(
    variables: dict[str, Any], issues: bool, files: list[str]
) -> None:
    names = ("__flannel_cafile", "__flannel_certfile", "__flannel_keyfile")
    assert evaluate("flannel", {"etcd_address": "192.0.2.1", **variables}, "__flannel_issues", *names) == [
        issues,
        *files,
    ]


def test_every_instance_has_a_user_of_its_own() -> None:
    assert evaluate("flannel", {}, "__flannel_user", "__flannel_tls_path") == [
        "flanneld",
        "/etc/flanneld/tls",
    ]
    assert evaluate("flannel", {"flannel_instance": "blue"}, "__flannel_user", "__flannel_tls_path") == [
        "flanneld-blue",
        "/etc/flanneld/blue.tls",
    ]


def test_every_variable_reaches_flanneld() -> None:
    (text,) = render("flannel", ["flanneld.env"], {"n1": EVERYTHING})
    assert settings(text) | {"FLANNEL_OPTIONS": ""} == {
        "FLANNELD_ETCD_ENDPOINTS": "https://192.0.2.1:2379,https://192.0.2.2:2379",
        "FLANNELD_ETCD_PREFIX": "/other",
        "FLANNELD_ETCD_CAFILE": "/etc/ssl/ca.pem",
        "FLANNELD_ETCD_CERTFILE": "/etc/ssl/cert.pem",
        "FLANNELD_ETCD_KEYFILE": "/etc/ssl/key.pem",
        "FLANNELD_ETCD_USERNAME": "flannel",
        "FLANNELD_INSTANCE": "blue",
        "FLANNELD_IFACE_CAN_REACH": "192.0.2.1",
        "FLANNELD_PUBLIC_IP": "203.0.113.7",
        "FLANNELD_PUBLIC_IPV6": "2001:db8::7",
        "FLANNELD_FIREWALL": "nftables",
        "FLANNELD_IP_MASQ": "false",
        "FLANNELD_IPTABLES_FORWARD_RULES": "false",
        "FLANNELD_IP_BLACKHOLE_ROUTE": "true",
        "FLANNELD_KEEP_SOURCE": "true",
        "FLANNELD_TX_CHECKSUM_OFFLOAD": "false",
        "FLANNELD_SUBNET_LEASE_TTL": "3600",
        "FLANNELD_SUBNET_LEASE_RENEW_MARGIN": "10",
        "FLANNELD_HEALTHZ_IP": "192.0.2.9",
        "FLANNELD_HEALTHZ_PORT": "8285",
        "FLANNELD_LOG_FORMAT": "json",
        "FLANNELD_ALLOW_EXTENSION_COMMANDS": "true",
        "FLANNEL_OPTIONS": "",
    }
    assert flags(text) == [
        "--iface=eth1",
        "--iface=192.0.2.7",
        r"--iface-regex=^192\.0\.2\.\d+$",
        "--no-masquerade-cidr=198.51.100.0/24",
        "--no-masquerade-cidr=2001:db8:9::/48",
        "--v=1",
        '--x=a "quoted" word',
    ]


def test_a_flanneld_that_runs_with_other_settings_is_known_by_its_process() -> None:
    """A run that ended between writing the settings and the restart leaves a file that nobody has read."""
    (text,) = render("flannel", ["flanneld.env"], {"n1": EVERYTHING})
    read = [f"{name}={value}" for name, value in settings(text).items()]
    http = [line.replace("https:", "http:") for line in read]
    for lines, unread in (
        (["HOME=/root", *read], []),
        (http, ["FLANNELD_ETCD_ENDPOINTS"]),
        (read[1:], [read[0].split("=")[0]]),
    ):
        content = base64.b64encode("\0".join([*lines, ""]).encode()).decode()
        variables = {**EVERYTHING, "__flannel_environ": {"content": content}}
        assert evaluate("flannel", variables, "__flannel_unread") == [unread]
    assert evaluate(
        "flannel", {**EVERYTHING, "__flannel_environ": {"skipped": True}}, "__flannel_unread"
    ) == [[]]


def test_unit_files_can_be_read() -> None:
    for text in render("flannel", UNIT_FILES, {"n1": {}}):
        # Not strict: SystemCallFilter may come more than once.
        parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=["="])
        parser.read_string(text)
        assert parser.sections()


@pytest.mark.parametrize(
    ("golden", "role", "templates", "variables"),
    [
        (
            "defaults",
            "flannel",
            FLANNEL_FILES,
            {"flannel_network": "10.42.0.0/16", "etcd_address": "192.0.2.1"},
        ),
        ("everything", "flannel", FLANNEL_FILES, EVERYTHING),
        ("etcd", "etcd", ETCD_FILES, ETCD),
    ],
)
def test_the_files_are_the_golden_ones(
    tmp_path: Path, golden: str, role: str, templates: list[str], variables: dict[str, Any]
) -> None:
    """A change that is meant: read the difference, then copy the new file over the golden one."""
    interface = {
        "__flannel_interface": {"interface": "eth0"},
        "__flannel_accept_ra": {"content": base64.b64encode(b"1\n").decode()},
    }
    texts = render(role, templates, {"n1": {**variables, **interface}})
    for name, text in zip(templates, texts):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert text == (GOLDEN / golden / name).read_text(encoding="utf-8"), tmp_path / name
    assert sorted(path.name for path in (GOLDEN / golden).iterdir()) == templates


def unit_of(directory: Path, instance: str, backend: str = "vxlan") -> Path:
    """The golden unit under the name that systemd knows it by, with what its backend needs."""
    golden = GOLDEN / ("defaults" if instance == "default" else "everything")
    unit = directory / Instance(instance).unit
    addition = golden / f"backend-{backend}.conf"
    if addition.exists():
        (directory / f"{unit.name}.d").mkdir()
        shutil.copy(addition, directory / f"{unit.name}.d" / "20-backend.conf")
    return Path(shutil.copy(golden / "flanneld.service", unit))


@pytest.mark.parametrize("backend", ["vxlan", "udp"])
@pytest.mark.parametrize("instance", INSTANCES)
def test_systemd_rates_the_exposure_of_the_unit_as_low(tmp_path: Path, instance: str, backend: str) -> None:
    unit = unit_of(tmp_path, instance, backend)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=30", unit]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", run.stdout)
    assert found, run.stdout + run.stderr
    assert float(found.group(1)) <= 3.0
    assert run.returncode == 0
    # the addition was read, and is none for others
    assert (re.search(r"✓ PrivateDevices=", run.stdout) is not None) == (backend != "udp")


@pytest.mark.parametrize("backend", ["vxlan", "udp"])
@pytest.mark.parametrize("instance", INSTANCES)
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path, instance: str, backend: str) -> None:
    command = ["systemd-analyze", "verify", "--man=no", unit_of(tmp_path, instance, backend)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


@pytest.mark.parametrize("name", INSTANCES)
def test_the_role_names_things_as_flanneld_does(tmp_path: Path, name: str) -> None:
    instance = Instance(name)
    found = evaluate(
        "flannel", {"flannel_instance": name},
        "__flannel_unit", "__flannel_env_file", "__flannel_subnet_file", "__flannel_password_file",
        "__flannel_wireguard_psk_file",
    )  # fmt: skip
    assert found == [
        instance.unit, instance.env_file, instance.subnet_file, instance.password_file, instance.wireguard_psk_file,
    ]  # fmt: skip
    unit = settings(unit_of(tmp_path, name).read_text(encoding="utf-8").replace("%i", name))
    assert unit["EnvironmentFile"] == instance.env_file
    assert f"/run/{unit['RuntimeDirectory']}" == instance.run_dir
    assert f"/var/lib/{unit['StateDirectory']}" == instance.state_dir


def test_role_and_flanneld_take_the_same_names() -> None:
    variables = yaml.safe_load((ROOT / "roles/flannel/vars/main.yml").read_text(encoding="utf-8"))
    assert variables["__flannel_has_name"] == "{{ flannel_instance is match('^" + NAME + "$') }}"


def test_only_the_default_instance_has_to_do_with_docker(tmp_path: Path) -> None:
    assert "docker" in unit_of(tmp_path, "default").read_text(encoding="utf-8").lower()
    assert "docker.service" not in unit_of(tmp_path, "blue").read_text(encoding="utf-8")
    assert evaluate("flannel", {}, "flannel_docker") == [True]
    assert evaluate("flannel", {"flannel_instance": "blue"}, "flannel_docker") == [False]


@pytest.mark.parametrize(
    ("engine", "engines"),
    [("podman", ["flannel_podman"]), ("nerdctl", ["flannel_nerdctl"]), ("", ["flannel_docker"])],
)
def test_podman_and_nerdctl_take_the_place_of_docker(engine: str, engines: list[str]) -> None:
    variables = {f"flannel_{engine}": True} if engine else {}
    assert evaluate("flannel", variables, "__flannel_engine", "__flannel_engines") == [engine, engines]
    both = {"flannel_docker": True, "flannel_podman": True}
    assert evaluate("flannel", both, "__flannel_engines") == [["flannel_docker", "flannel_podman"]]


@pytest.mark.parametrize("instance", INSTANCES)
def test_the_password_is_in_its_file_alone(instance: str) -> None:
    templates = ["flanneld.service", "flanneld.env", "etcd-password.conf"]
    variables = {
        "etcd_address": "192.0.2.1", "flannel_instance": instance,
        "flannel_etcd_username": "flannel", "flannel_etcd_password": "correct-horse-battery",
    }  # fmt: skip
    texts = render("flannel", templates, {"n1": variables})
    assert all("correct-horse-battery" not in text for text in texts)
    (file,) = evaluate("flannel", variables, "__flannel_password_file")
    assert settings(texts[2])["LoadCredential"] == f"etcd-password:{file}"


@pytest.mark.parametrize("instance", INSTANCES)
def test_the_pre_shared_key_is_in_its_file_alone(instance: str) -> None:
    templates = ["flanneld.service", "flanneld.env", "wireguard-psk.conf"]
    psk = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
    variables = {
        "etcd_address": "192.0.2.1", "flannel_instance": instance, "flannel_wireguard_psk": psk,
    }  # fmt: skip
    texts = render("flannel", templates, {"n1": variables})
    assert all(psk not in text for text in texts)
    (file,) = evaluate("flannel", variables, "__flannel_wireguard_psk_file")
    assert settings(texts[2])["LoadCredential"] == f"wireguard-psk:{file}"


@pytest.mark.parametrize(
    ("variables", "ipv4", "ipv6", "firewall"),
    [
        ({"flannel_network": "10.5.0.0/16"}, True, False, "iptables"),
        ({"flannel_network": "10.5.0.0/16", "flannel_ipv6_network": "2001:db8::/48"}, True, True, "iptables"),
        ({"flannel_ipv6_network": "2001:db8::/48", "flannel_enable_nftables": True}, False, True, "nftables"),
        ({"flannel_config": {"Network": "10.5.0.0/16", "enableIPv6": True}}, True, True, "iptables"),
        ({"flannel_config": {"EnableIPv4": False, "EnableNFTables": True}}, False, False, "nftables"),
        ({"flannel_network": "10.5.0.0/16", "flannel_firewall": "none"}, True, False, "none"),
    ],
)
def test_families_and_firewall_follow_the_network_config(
    variables: dict[str, Any], ipv4: bool, ipv6: bool, firewall: str
) -> None:
    names = ("__flannel_ipv4", "__flannel_ipv6", "__flannel_firewall", "__flannel_packages")
    *found, packages = evaluate("flannel", variables, *names)
    assert found == [ipv4, ipv6, firewall]
    assert {"iptables", "nftables"} & set(packages) == {firewall} - {"none"}


@pytest.mark.parametrize(
    ("variables", "modules"),
    [
        ({}, ["vxlan", "br_netfilter"]),
        ({"flannel_backend": {"type": "IPIP", "DirectRouting": True}}, ["ipip", "br_netfilter"]),
        ({"flannel_backend": {"Type": "wireguard"}}, ["wireguard", "br_netfilter"]),
        ({"flannel_backend": {"Type": "host-gw"}}, ["br_netfilter"]),
        (
            {"flannel_config": {"network": "10.5.0.0/16", "backend": {"TYPE": "ipip"}}},
            ["ipip", "br_netfilter"],
        ),
        ({"flannel_config": {"Network": "10.5.0.0/16"}}, ["tun", "br_netfilter"]),
    ],
)
def test_the_modules_are_those_of_the_backend(variables: dict[str, Any], modules: list[str]) -> None:
    assert evaluate("flannel", variables, "__flannel_modules_needed") == [modules]
    (text,) = render("flannel", ["modules-load.conf"], {"n1": variables})
    assert [line for line in text.splitlines() if not line.startswith("#")] == modules


def test_each_instance_names_its_own_modules() -> None:
    assert evaluate("flannel", {}, "__flannel_modules_file") == ["/etc/modules-load.d/flannel.conf"]
    (blue,) = evaluate("flannel", {"flannel_instance": "blue"}, "__flannel_modules_file")
    assert blue == "/etc/modules-load.d/flannel-blue.conf"


@pytest.mark.parametrize(
    ("variables", "backend", "modules", "addition"),
    [
        ({}, "vxlan", ["vxlan", "br_netfilter"], False),
        ({"flannel_backend": {"type": "UDP"}}, "udp", ["tun", "br_netfilter"], True),
        ({"flannel_backend": {"Type": "host-gw"}}, "host-gw", ["br_netfilter"], False),
        ({"flannel_config": {"Network": "10.5.0.0/16"}}, "udp", ["tun", "br_netfilter"], True),
        ({"flannel_config": {"backend": {"Type": "VXLAN"}}}, "vxlan", ["vxlan", "br_netfilter"], False),
    ],
)
def test_modules_and_sandbox_follow_the_backend(
    variables: dict[str, Any], backend: str, modules: list[str], addition: bool
) -> None:
    names = ("__flannel_backend_type", "__flannel_modules_needed", "__flannel_has_addition")
    assert evaluate("flannel", variables, *names) == [backend, modules, addition]


@pytest.mark.parametrize(("accepts", "set_to"), [("0", None), ("1", "2"), ("2", "2")])
def test_a_host_that_forwards_ipv6_keeps_its_route_from_router_advertisements(
    accepts: str, set_to: str | None
) -> None:
    variables = {
        "flannel_ipv6_network": "2001:db8::/48",
        "__flannel_interface": {"interface": "eth0.7"},
        "__flannel_accept_ra": {"content": base64.b64encode(f"{accepts}\n".encode()).decode()},
    }
    (text,) = render("flannel", ["sysctl.conf"], {"n1": variables})
    found = {name.strip(): value.strip() for name, value in settings(text).items()}
    assert found.pop("net/ipv6/conf/eth0.7/accept_ra", None) == set_to
    assert found == {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}


@pytest.mark.parametrize(
    ("lines", "addresses", "said"),
    [
        ("", ("192.0.2.1", None), "no subnet yet via eth1, public IP 192.0.2.1"),
        ("FLANNEL_SUBNET=10.5.1.1/24\n", ("192.0.2.1", None), "10.5.1.1/24 via eth1, public IP 192.0.2.1"),
        (
            "FLANNEL_IPV6_NETWORK=fd05::/48\nFLANNEL_IPV6_SUBNET=fd05:0:0:1::1/64\n",
            (None, "2001:db8::1"),
            "fd05:0:0:1::1/64 via eth1, public IP 2001:db8::1",
        ),
    ],
)
def test_the_report_names_the_subnets_of_both_families(
    lines: str, addresses: tuple[str | None, str | None], said: str
) -> None:
    interface = {"interface": "eth1", "public_ip": addresses[0], "public_ipv6": addresses[1]}
    variables = {
        "flannel_etcd_endpoints": ["http://192.0.2.1:2379"],
        "__flannel_interface": interface,
        "__flannel_subnet_env": {"content": base64.b64encode(lines.encode()).decode()},
    }
    (text,) = render("flannel", ["report.txt"], {"n1": variables})
    assert text.split() == f"n1: {said}".split()


def test_a_network_without_ipv6_leaves_it_alone() -> None:
    (text,) = render("flannel", ["sysctl.conf"], {"n1": {"flannel_network": "10.5.0.0/16"}})
    assert settings(text) == {"net/ipv4/ip_forward ": " 1"}


def test_etcd_listens_on_one_address_only() -> None:
    (text,) = render("etcd", ["etcd.env"], {"n1": {"etcd_client_address": "192.0.2.1"}})
    found = settings(text)
    urls = [value for name, value in found.items() if name.endswith("_URLS")]
    assert {re.sub(r":\d+$", "", url) for url in urls} == {"http://192.0.2.1"}
    assert found["ETCD_AUTO_COMPACTION_RETENTION"] == "1h"


def test_filter_admits_the_groups_and_keeps_whom_this_run_did_not_reach() -> None:
    earlier = "   192.0.2.2,  # host n2\n   192.0.2.3,  # host n3\n   192.0.2.9,  # host gone\n"
    hosts: dict[str, dict[str, Any]] = {
        "n1": {
            "etcd_client_address": "192.0.2.1",
            "etcd_admitted_addresses": ["198.51.100.0/24"],
            "__etcd_admission": {"content": base64.b64encode(earlier.encode()).decode()},
        },
        "n2": {"etcd_source_addresses": {"n1": "192.0.2.22"}},
        "n3": {},
        "n4": {},
    }
    (text,) = render("etcd", ["admission.nft"], hosts)
    assert re.findall(r"^ +([0-9./]+),  # (.*)$", text, re.MULTILINE) == [
        ("192.0.2.1", "this host"),
        ("192.0.2.22", "host n2"),
        ("192.0.2.3", "host n3"),
        ("198.51.100.0/24", "etcd_admitted_addresses"),
        ("192.0.2.1", "this host"),
    ]


def test_members_reach_each_other_and_one_that_has_left_the_group_still_does() -> None:
    cluster = [
        {"name": "n1", "peer_urls": ["http://192.0.2.1:2380"]},
        {"name": "n9", "peer_urls": ["http://192.0.2.9:2380"]},
    ]
    member = {"etcd_client_address": "192.0.2.1", "__etcd_cluster": {"members": cluster}}
    (text,) = render("etcd", ["admission.nft"], {"n1": member, "n2": {}})
    _clients, members = text.split("set members")
    assert re.findall(r"^ +([0-9./]+),  # (.*)$", members, re.MULTILINE) == [
        ("192.0.2.1", "this host"),
        ("192.0.2.9", "member n9, no longer in the group"),
    ]


@pytest.mark.parametrize(
    ("asked_for", "members", "removed"),
    [
        ([], {"n1": True, "n9": True}, []),
        (["n9"], {"n1": True, "n9": True}, ["n9"]),
        (["n1"], {"n1": True, "n9": True}, []),
        (["n1"], {"n1": False, "n9": True}, ["n1"]),
        (["n8"], {"n1": True, "n9": True}, []),
    ],
    ids=["nobody asks", "left the group", "well and in the group", "lost and in the group", "no member"],
)
def test_members_go_only_on_request_and_not_if_they_are_well_and_wanted(
    asked_for: list[str], members: dict[str, bool], removed: list[str]
) -> None:
    cluster = {"members": [{"name": name, "healthy": healthy} for name, healthy in members.items()]}
    found = evaluate(
        "etcd", {"etcd_remove_members": asked_for, "__etcd_cluster": cluster}, "__etcd_removable"
    )
    assert found == [removed]
