# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_network and flannel_network_info, on a real etcd."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Dict, Optional

import pytest

from tests.contract_modules.conftest import AnsibleHost, Host, Outcome
from tests.support.etcd import EtcdServer, ServerTLS, find_free_port

CONFIG = "/coreos.com/network/config"
SUBNETS = "/coreos.com/network/subnets/"
WRITTEN = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":7}}'
NETWORK: Dict[str, Any] = {"network": "10.5.0.0/16", "backend": {"type": "vxlan", "vni": 7}}
VALUE = (
    '{"PublicIP":"192.0.2.11","PublicIPv6":null,"BackendType":"vxlan",'
    '"BackendData":{"VNI":7,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
)
PSK = "PSJHWGZKvcrYGDpjWzIMSqBVMd8D7kRDBZYhcgkJcZo="


def apply(host: Host, etcd: EtcdServer, options: Dict[str, Any], *flags: str) -> Outcome:
    return host.run("flannel_network", {"endpoints": etcd.endpoint, **options}, "--diff", *flags)


def stored(etcd: EtcdServer) -> str:
    """The config as etcd holds it, "" when there is none."""
    return etcd.ctl("get", CONFIG, "--print-value-only").rstrip("\n")


def put_lease(etcd: EtcdServer, key: str, value: str) -> None:
    """As flanneld does it: on an etcd lease, so that it is live and no reservation."""
    lease_id = etcd.ctl("lease", "grant", "86400").split()[1]
    etcd.ctl("put", f"--lease={lease_id}", SUBNETS + key, value)


def test_check_mode_shows_and_writes_nothing(host: Host, etcd: EtcdServer) -> None:
    outcome = apply(host, etcd, NETWORK, "--check")
    assert outcome.changed
    assert outcome.before == ""
    assert json.loads(outcome.after) == json.loads(WRITTEN)
    assert outcome.result["raw"] == WRITTEN
    assert stored(etcd) == ""


def test_what_is_set_is_written_once(by_ansible: AnsibleHost, etcd: EtcdServer) -> None:
    first = apply(by_ansible, etcd, NETWORK)
    assert first.changed
    assert stored(etcd) == WRITTEN
    assert first.result["config"]["subnet_len"] == 24
    assert first.result["config"]["backend"]["direct_routing"] is False

    again = apply(by_ansible, etcd, NETWORK)
    assert not again.changed
    assert again.before == again.after
    assert again.result["revision"] == first.result["revision"]


@pytest.mark.parametrize(
    "same",
    [
        '{"Network":"10.5.0.0/16","SubnetLen":24,"Backend":{"Type":"vxlan","VNI":7,"DirectRouting":false}}',
        ' { "network": "10.5.9.9/16", "BACKEND": {"vni": 7, "Type": "VXLAN"} } ',
    ],
    ids=["defaults spelled out", "spelled as Go accepts it"],
)
def test_another_spelling_is_no_change(host: Host, etcd: EtcdServer, same: str) -> None:
    etcd.put(CONFIG, same)
    assert not apply(host, etcd, NETWORK).changed
    assert stored(etcd) == same.rstrip("\n")


def test_a_key_that_is_no_longer_set_goes(host: Host, etcd: EtcdServer) -> None:
    etcd.put(CONFIG, '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":7,"DirectRouting":true}}')
    put_lease(etcd, "10.5.34.0-24", VALUE)
    outcome = apply(host, etcd, NETWORK)
    assert outcome.changed, "direct routing separates nobody: no consent needed"
    assert '"DirectRouting": true' in outcome.before
    assert "DirectRouting" not in outcome.after
    assert stored(etcd) == WRITTEN


@pytest.mark.parametrize(
    "change",
    [{"network": "10.5.0.0/16", "backend": {"type": "vxlan", "vni": 8}}, {"state": "absent"}],
    ids=["VNI", "absent"],
)
def test_a_live_lease_is_not_cut_without_consent(
    host: Host, etcd: EtcdServer, change: Dict[str, Any]
) -> None:
    etcd.put(CONFIG, WRITTEN)
    put_lease(etcd, "10.5.34.0-24", VALUE)
    outcome = apply(host, etcd, change, "--check")
    assert outcome.failed
    assert outcome.result["error"] == "DisruptionRefused"
    assert "10.5.34.0-24 (192.0.2.11)" in outcome.result["msg"]
    assert "allow_disruptive" in outcome.result["next_step"]
    (disruption,) = outcome.result["disruptions"]
    assert disruption["leases"] == [
        {"key": SUBNETS + "10.5.34.0-24", "public_ip": "192.0.2.11", "public_ipv6": None}
    ]


def test_refusal_and_consent_outside_check_mode(host: Host, etcd: EtcdServer) -> None:
    etcd.put(CONFIG, WRITTEN)
    put_lease(etcd, "10.5.34.0-24", VALUE)
    narrower = {**NETWORK, "subnet_len": 25}
    assert apply(host, etcd, narrower).failed
    assert stored(etcd) == WRITTEN

    outcome = apply(host, etcd, {**narrower, "allow_disruptive": True})
    assert outcome.changed
    assert len(outcome.result["disruptions"]) == 1
    assert json.loads(stored(etcd))["SubnetLen"] == 25


def test_without_leases_nothing_is_disruptive(host: Host, etcd: EtcdServer) -> None:
    etcd.put(CONFIG, WRITTEN)
    assert apply(host, etcd, {"network": "10.6.0.0/16", "backend": {"type": "host-gw"}}).changed


def test_absent(host: Host, etcd: EtcdServer) -> None:
    etcd.put(CONFIG, WRITTEN)
    put_lease(etcd, "10.5.34.0-24", VALUE)
    gone = {"state": "absent", "allow_disruptive": True}
    assert apply(host, etcd, gone, "--check").changed
    assert stored(etcd) == WRITTEN

    outcome = apply(host, etcd, gone)
    assert outcome.changed
    assert (json.loads(outcome.before), outcome.after) == (json.loads(WRITTEN), "")
    assert (outcome.result["exists"], outcome.result["config"], outcome.result["revision"]) == (
        False,
        None,
        0,
    )
    assert stored(etcd) == ""
    assert not apply(host, etcd, gone).changed


def test_unknown_keys_in_etcd_show_before_they_go(host: Host, etcd: EtcdServer) -> None:
    etcd.put(CONFIG, '{"Network":"10.5.0.0/16","Netwerk":"x","Backend":{"Type":"vxlan","VNI":7,"Vni2":1}}')
    outcome = apply(host, etcd, NETWORK)
    assert outcome.changed
    assert outcome.result["unknown_keys"] == ["Netwerk", "Backend.Vni2"]
    assert '"Netwerk": "x"' in outcome.before
    assert '"Vni2": 1' in outcome.before
    assert stored(etcd) == WRITTEN


def test_unknown_keys_in_the_config_option(host: Host, etcd: EtcdServer) -> None:
    config = {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 7, "Vni2": 1}}
    outcome = apply(host, etcd, {"config": config})
    assert stored(etcd) == WRITTEN
    assert outcome.result["unknown_keys"] == ["Backend.Vni2"]
    assert '"Vni2": 1' in outcome.result["diff"][1]["before"]
    assert "Vni2" not in outcome.result["diff"][1]["after"]
    assert not apply(host, etcd, {"config": config}).changed


def test_text_that_is_no_config_is_replaced(host: Host, etcd: EtcdServer) -> None:
    etcd.put(CONFIG, '{"Network": "10.5.0.0/16", oops')
    outcome = apply(host, etcd, NETWORK)
    assert outcome.changed
    assert outcome.before == '{"Network": "10.5.0.0/16", oops\n'
    assert stored(etcd) == WRITTEN


@pytest.mark.parametrize(
    ("options", "error", "cause"),
    [
        ({"network": "10.5.0.0/16", "subnet_len": 31}, "ConfigError", "SubnetLen must be less than /31"),
        ({"network": "10.5.0.0/29"}, "ConfigError", "network is too small"),
        ({}, "ConfigError", "please define a correct Network parameter"),
        ({"network": "10.5.0.0/16", "backend": {"type": "host-gw", "vni": 1}}, "ConfigError", "vni"),
        ({"config": {"Network": "10.5.0.0/16", "SubnetLen": "24"}}, "ConfigError", "SubnetLen"),
        ({"config": {"Network": "10.5.0.0/16", "Backend": {"PSK": PSK}}}, "ConfigError", "backend"),
    ],
)
def test_a_wrong_config_is_not_written(
    host: Host, etcd: EtcdServer, options: Dict[str, Any], error: str, cause: str
) -> None:
    etcd.put(CONFIG, WRITTEN)
    outcome = apply(host, etcd, options)
    assert outcome.failed
    assert outcome.result["error"] == error
    assert cause in outcome.result["msg"]
    assert outcome.result["next_step"]
    assert stored(etcd) == WRITTEN


def test_secrets_are_written_and_never_shown(by_ansible: AnsibleHost, etcd: EtcdServer) -> None:
    etcd.put(CONFIG, '{"Network":"10.5.0.0/16","Backend":{"Type":"wireguard","PSK":"old secret"}}')
    outcome = apply(
        by_ansible, etcd, {"network": "10.5.0.0/16", "backend": {"type": "wireguard", "psk": PSK}}
    )
    assert outcome.changed
    assert json.loads(stored(etcd))["Backend"]["PSK"] == PSK
    info = by_ansible.run("flannel_network_info", {"endpoints": etcd.endpoint})
    for text in (outcome.output, json.dumps(outcome.result), info.output, json.dumps(info.result)):
        assert PSK not in text
        assert "old secret" not in text
    assert outcome.before != outcome.after, "that it changes is no secret"


def test_info(host: Host, etcd: EtcdServer) -> None:
    empty = host.run("flannel_network_info", {"endpoints": etcd.endpoint}, "--check")
    assert (empty.changed, empty.result["exists"], empty.result["config"]) == (False, False, None)

    etcd.put(CONFIG, WRITTEN)
    put_lease(etcd, "10.5.34.0-24", VALUE)
    etcd.put(SUBNETS + "10.5.35.0-24", '{"PublicIP":"192.0.2.12"}')
    etcd.put(SUBNETS + "10.5.36.0-24", "no JSON")
    etcd.put(SUBNETS + "junk", VALUE)
    result = host.run("flannel_network_info", {"endpoints": etcd.endpoint}).result
    assert (result["exists"], result["raw"], result["config_error"]) == (True, WRITTEN, None)
    assert result["config"]["backend"]["vni"] == 7
    assert result["config"]["subnet_max"] == "10.5.255.0"
    assert result["leases"] == [
        {
            "key": SUBNETS + "10.5.34.0-24",
            "subnet": "10.5.34.0/24",
            "ipv6_subnet": None,
            "public_ip": "192.0.2.11",
            "public_ipv6": None,
            "backend_type": "vxlan",
            "backend_data": {"VNI": 7, "VtepMAC": "c6:d2:32:6f:8f:44"},
            "backend_v6_data": None,
            "reservation": False,
        },
        {
            "key": SUBNETS + "10.5.35.0-24",
            "subnet": "10.5.35.0/24",
            "ipv6_subnet": None,
            "public_ip": "192.0.2.12",
            "public_ipv6": None,
            "backend_type": None,
            "backend_data": None,
            "backend_v6_data": None,
            "reservation": True,
        },
    ]
    assert [lease["key"] for lease in result["bad_leases"]] == [SUBNETS + "10.5.36.0-24", SUBNETS + "junk"]
    assert all(lease["reason"] for lease in result["bad_leases"])
    assert result["subnets"] == {"ipv4": {"total": 255, "used": 2, "free": 253}, "ipv6": None}


def test_info_on_a_broken_config(host: Host, etcd: EtcdServer) -> None:
    etcd.put(CONFIG, '{"Network":"10.5.0.0/29"}')
    result = host.run("flannel_network_info", {"endpoints": etcd.endpoint}).result
    assert result["exists"]
    assert result["config"] is None
    assert "network is too small" in result["config_error"]


def test_another_prefix(host: Host, etcd: EtcdServer) -> None:
    assert apply(host, etcd, {**NETWORK, "prefix": "/networks//two/"}).result["key"] == "/networks/two/config"
    assert etcd.ctl("get", "/networks/two/config", "--print-value-only").strip() == WRITTEN


# when etcd cannot be used


def test_nobody_listens(host: Host) -> None:
    port = find_free_port("127.0.0.1")
    outcome = host.run("flannel_network", {"host": "127.0.0.1", "port": port, **NETWORK}, "--check")
    assert outcome.failed
    assert outcome.result["error"] == "StoreUnavailable"
    assert f"127.0.0.1:{port}" in outcome.result["msg"]
    assert "check that etcd runs there" in outcome.result["next_step"]


def test_etcd_does_not_answer(host: Host, tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "etcd") as server:
        server.freeze()
        outcome = host.run("flannel_network_info", {"endpoints": server.endpoint, "timeout": 1})
    assert outcome.failed
    assert outcome.result["error"] in ("StoreTimeout", "StoreUnavailable")
    assert outcome.result["next_step"]


def test_the_next_endpoint_is_tried(host: Host, etcd: EtcdServer) -> None:
    dead = f"http://127.0.0.1:{find_free_port('127.0.0.1')}"
    outcome = host.run("flannel_network", {"endpoints": [dead, etcd.endpoint], **NETWORK})
    assert outcome.changed


def test_library_missing(host: Host, tmp_path: Path) -> None:
    """A blank host: real runs stop and name the packages, check mode completes."""
    (tmp_path / "etcd3.py").write_text("raise ImportError('not installed')\n")
    blank = Host(tmp_path, environment={"PYTHONPATH": str(tmp_path)})
    outcome = blank.run("flannel_network", NETWORK)
    assert outcome.failed
    assert outcome.result["error"] == "StoreLibraryMissing"
    assert "python3-etcd3" in outcome.result["next_step"]

    predicted = blank.run("flannel_network", NETWORK, "--check", "--diff")
    assert predicted.changed
    assert json.loads(predicted.after) == json.loads(WRITTEN)
    assert "as if etcd were empty" in predicted.output


# certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca, server and client made together; other-ca and stranger have nothing to do with them."""
    directory = tmp_path_factory.mktemp("tls")
    for authority, names in (("ca", ("server", "client")), ("other-ca", ("stranger",))):
        openssl(directory, "req -x509", authority, f"-subj /CN={authority} -days 2")
        for name in names:
            (directory / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
            openssl(directory, "req", name, f"-subj /CN={name}", output=f"{name}.csr")
            subprocess.run(
                f"openssl x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -CAcreateserial"
                f" -out {name}.crt -days 2 -extfile {name}.ext".split(),
                cwd=directory, check=True, capture_output=True,
            )  # fmt: skip
    return directory


def openssl(directory: Path, command: str, name: str, rest: str, output: str = "") -> None:
    subprocess.run(
        f"openssl {command} -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key"
        f" -out {output or name + '.crt'} {rest}".split(),
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def secured(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    tls = ServerTLS(
        certificates / "ca.crt", certificates / "server.crt", certificates / "server.key",
        trusted_ca=certificates / "ca.crt",
        client_cert=certificates / "client.crt", client_key=certificates / "client.key",
    )  # fmt: skip
    with EtcdServer(tmp_path_factory.mktemp("secured"), tls=tls) as server:
        yield server


@pytest.mark.parametrize(
    ("authority", "client", "error"),
    [
        ("ca", "client", None),
        ("other-ca", "client", "StoreTLSError"),
        ("ca", "stranger", "StoreAuthError"),
        ("ca", "missing", "StoreTLSError"),
    ],
)
def test_certificates(
    host: Host,
    secured: EtcdServer,
    certificates: Path,
    authority: str,
    client: str,
    error: Optional[str],
) -> None:
    outcome = host.run(
        "flannel_network",
        {
            "endpoints": secured.endpoint,
            "ca_cert": str(certificates / f"{authority}.crt"),
            "client_cert": str(certificates / f"{client}.crt"),
            "client_key": str(certificates / f"{client}.key"),
            **NETWORK,
        },
    )
    assert outcome.result.get("error") == error, outcome.result
    assert outcome.result["raw" if error is None else "next_step"]


def test_user_and_password_are_taken_and_never_shown(
    by_ansible: AnsibleHost, certificates: Path, tmp_path: Path
) -> None:
    tls = ServerTLS(certificates / "ca.crt", certificates / "server.crt", certificates / "server.key")
    secret = "correct-horse-battery"
    login = {"ca_cert": str(certificates / "ca.crt"), "user": "operator", "password": secret}
    with EtcdServer(tmp_path / "etcd", tls=tls) as server:
        server.ctl("role", "add", "operator")
        server.ctl(
            "role", "grant-permission", "operator", "--prefix=true", "readwrite", "/coreos.com/network/"
        )
        server.ctl("user", "add", f"operator:{secret}")
        server.ctl("user", "grant-role", "operator", "operator")
        server.enable_auth()
        written = apply(by_ansible, server, {**NETWORK, **login})
        info = by_ansible.run("flannel_network_info", {"endpoints": server.endpoint, **login})
        pinned = {"endpoints": server.endpoint, **login, "subnet": "10.5.34.0/24", "public_ip": "192.0.2.1"}
        made = by_ansible.run("flannel_reservation", pinned)
        ended = by_ansible.run("flannel_lease", {**pinned, "state": "leased"})
        leases = by_ansible.run("flannel_lease_info", {"endpoints": server.endpoint, **login})
        refused = apply(by_ansible, server, {**NETWORK, **login, "password": "wrong-secret"})
        elsewhere = apply(by_ansible, server, {**NETWORK, **login, "prefix": "/elsewhere"})
    assert (written.changed, info.result["raw"]) == (True, WRITTEN)
    assert (made.changed, ended.changed) == (True, True)
    assert leases.result["leases"][0]["seconds_left"] > 86000
    assert refused.result["error"] == "StoreAuthError"
    assert "no such user with this password" in refused.result["cause"]
    assert "etcd key /elsewhere/config: etcd refuses access to user operator" in elsewhere.result["msg"]
    for outcome in (written, info, made, ended, leases, refused, elsewhere):
        for text in (outcome.output, json.dumps(outcome.result)):
            assert secret not in text
            assert "wrong-secret" not in text


def test_a_password_is_not_sent_without_tls(host: Host, etcd: EtcdServer) -> None:
    outcome = apply(host, etcd, {**NETWORK, "username": "operator", "password": "correct-horse-battery"})
    assert outcome.result["error"] == "StoreError"
    assert f"in clear text to {etcd.endpoint}" in outcome.result["msg"]
