# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates that the modules make, through Ansible, at work between a real etcd and its clients."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contract_modules.conftest import AnsibleHost, Host, Outcome
from tests.support.etcd import EtcdServer, ServerTLS


class Certificates:
    """One authority, and a directory of the host for what it signs."""

    def __init__(self, host: AnsibleHost, directory: Path) -> None:
        self.host = host
        self.authority = directory / "authority"
        self.files = directory / "host"
        self.files.mkdir()

    def make_authority(self, *flags: str, **options: Any) -> Outcome:
        return self.host.run(
            "flannel_tls_authority", {"directory": str(self.authority), **options}, "--diff", *flags
        )

    def issue(self, name: str, *flags: str, **options: Any) -> Outcome:
        arguments = {
            "authority": str(self.authority), "common_name": name, "usages": ["client"],
            "path": str(self.files / f"{name}.crt"), "key_path": str(self.files / f"{name}.key"),
            "ca_path": str(self.files / "ca.crt"), "owner": None, "group": None, **options,
        }  # fmt: skip
        given = {option: value for option, value in arguments.items() if value is not None}
        return self.host.run("flannel_tls_certificate", given, "--diff", *flags)


@pytest.fixture
def certificates(by_ansible: AnsibleHost, tmp_path: Path) -> Certificates:
    return Certificates(by_ansible, tmp_path)


def diff_of(outcome: Outcome) -> tuple[str, str]:
    return outcome.before, outcome.after


def test_the_authority_is_made_once(certificates: Certificates) -> None:
    told = certificates.make_authority("--check")
    assert told.changed
    assert not certificates.authority.exists()

    made = certificates.make_authority()
    assert made.changed
    assert diff_of(told) == diff_of(made)
    assert "BEGIN PRIVATE" not in made.output

    again = certificates.make_authority()
    assert not again.changed
    assert again.result["fingerprint"] == made.result["fingerprint"]
    assert diff_of(again)[0] == diff_of(again)[1]


def test_etcd_and_a_client_believe_each_other(certificates: Certificates, host: Host, tmp_path: Path) -> None:
    certificates.make_authority()
    server = {"usages": ["server", "client"], "names": ["127.0.0.1", "localhost"]}
    told = certificates.issue("etcd", "--check", **server)
    assert told.changed
    assert list(certificates.files.iterdir()) == []

    made = certificates.issue("etcd", **server)
    assert made.changed
    assert made.result["reasons"] == ["there is no certificate"]
    assert diff_of(told) == diff_of(made)
    assert "BEGIN PRIVATE" not in made.output
    key = certificates.files / "etcd.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = {path: path.read_bytes() for path in certificates.files.iterdir()}

    again = certificates.issue("etcd", **server)
    assert not again.changed, again.result
    assert diff_of(again)[0] == diff_of(again)[1]
    assert {path: path.read_bytes() for path in certificates.files.iterdir()} == before

    certificates.issue("root")
    files = certificates.files
    tls = ServerTLS(
        files / "ca.crt", files / "etcd.crt", key, files / "ca.crt", files / "root.crt", files / "root.key"
    )
    with EtcdServer(tmp_path / "etcd", tls=tls) as member:
        options: dict[str, Any] = {"endpoints": member.endpoint, "ca_cert": str(tls.ca_cert)}
        shown = {"client_cert": str(tls.client_cert), "client_key": str(tls.client_key)}
        assert not host.run("flannel_network_info", {**options, **shown}).failed
        assert host.run("flannel_network_info", options).failed, "etcd wants to see a certificate"

        # Renewed while etcd runs, which reads its files at every handshake; the key stays.
        renewed = certificates.issue("etcd", **server, renew_percent=99, days=30)
        assert not renewed.changed, "nearly all of its life is left"
        renewed = certificates.issue("etcd", **{**server, "names": ["127.0.0.1", "::1"]})
        assert renewed.changed
        assert "its names are 127.0.0.1, localhost, not 127.0.0.1, ::1" in renewed.result["reasons"]
        assert key.read_bytes() == before[key]
        assert not host.run("flannel_network_info", {**options, **shown}).failed


def test_a_broken_certificate_is_replaced_and_a_broken_key_is_not(certificates: Certificates) -> None:
    certificates.make_authority()
    certificates.issue("flanneld")
    (certificates.files / "flanneld.crt").write_text("junk")
    assert certificates.issue("flanneld").result["reasons"] == ["it is no certificate in PEM"]

    (certificates.files / "flanneld.key").write_text("junk-secret")
    outcome = certificates.issue("flanneld")
    assert outcome.failed
    assert outcome.result["error"] == "CertificateError"
    assert "no private key in PEM" in outcome.result["cause"]
    assert "junk-secret" not in outcome.output


def test_another_authority_means_another_certificate(certificates: Certificates) -> None:
    certificates.make_authority()
    certificates.issue("flanneld")
    certificates.authority.rename(certificates.authority.with_name("old"))
    assert "none in this directory" in certificates.issue("flanneld").result["cause"]
    certificates.make_authority()
    told = certificates.issue("flanneld", "--check")
    assert told.result["reasons"] == ["it comes from another authority (flannel)"]
    made = certificates.issue("flanneld")
    assert diff_of(told) == diff_of(made)
    assert not certificates.issue("flanneld").changed


def test_bad_wishes_are_refused_before_anything_is_made(certificates: Certificates) -> None:
    certificates.make_authority()
    outcome = certificates.issue("etcd", usages=["server"], names=["not a name"])
    assert outcome.failed
    assert (outcome.result["subject"], outcome.result["next_step"]) == ("names 'not a name'", "correct it")
    assert list(certificates.files.iterdir()) == []
    outcome = certificates.issue("etcd", path="/nowhere/etcd.crt", key_path="/nowhere/etcd.key")
    assert "cannot be written (No such file or directory)" in outcome.result["msg"]


def test_info_tells_what_openssl_tells(certificates: Certificates, host: Host) -> None:
    certificates.make_authority()
    certificates.issue("etcd", usages=["server"], names=["192.0.2.1", "etcd1.example.com"])
    paths = {"path": str(certificates.files / "etcd.crt"), "key_path": str(certificates.files / "etcd.key")}
    found = host.run("flannel_tls_certificate_info", paths).result
    assert (found["exists"], found["problem"], found["key_matches"]) == (True, None, True)
    assert (found["common_name"], found["issuer"]) == ("etcd", "flannel")
    assert (found["names"], found["usages"]) == (["192.0.2.1", "etcd1.example.com"], ["server"])
    assert found["days_left"] in (364, 365)
    verified = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", certificates.files / "ca.crt",
         paths["path"]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr

    missing = host.run("flannel_tls_certificate_info", {"path": "/nowhere"}).result
    assert (missing["exists"], missing["common_name"]) == (False, None)


def test_a_request_for_another_authority(certificates: Certificates, host: Host) -> None:
    options = {"path": str(certificates.files / "a.key"), "common_name": "flanneld"}
    told = host.run("flannel_tls_request", options, "--check", "--diff")
    assert (told.changed, told.result["request"]) == (True, None)
    made = host.run("flannel_tls_request", options, "--diff")
    assert made.changed
    assert diff_of(told) == diff_of(made)
    assert made.result["request"].startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert not host.run("flannel_tls_request", options).changed
    widened = certificates.files / "a.key"
    widened.chmod(0o644)
    assert host.run("flannel_tls_request", options).changed
    assert stat.S_IMODE(widened.stat().st_mode) == 0o600
