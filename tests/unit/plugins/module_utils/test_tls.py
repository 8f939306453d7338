# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a certificate fits, when it is made anew, and what the authority signs."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.weft.flannel.plugins.module_utils import _x509
from ansible_collections.weft.flannel.plugins.module_utils._errors import CertificateError
from ansible_collections.weft.flannel.plugins.module_utils._tls import (
    NOTHING_PRESENT,
    Certificate,
    Present,
    Wanted,
    describe_wanted,
    find_reasons,
    read_wanted,
)
from ansible_collections.weft.flannel.plugins.plugin_utils._authority import find_authority, make_authority
from cryptography import x509

from tests.support.certs import CertificateAuthority, encrypt_key

NOW = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
WANTED = Wanted("etcd", ("192.0.2.1", "etcd1.example.com"), ("server", "client"), 365, 33)
GOOD = Certificate(
    common_name="etcd",
    names=("192.0.2.1", "etcd1.example.com"),
    usages=("server", "client"),
    authority=False,
    issuer="flannel",
    fingerprint="00" * 32,
    not_before=NOW - timedelta(days=100),
    not_after=NOW + timedelta(days=265),
)


def present(**differences: object) -> Present:
    return Present(replace(GOOD, **differences), "", issued_by_authority=True, has_key=True)  # type: ignore[arg-type]


def test_one_that_fits_is_kept() -> None:
    assert find_reasons(present(), WANTED, NOW) == ()


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (NOTHING_PRESENT, "there is no certificate"),
        (Present(None, "it is no certificate in PEM", False, False), "it is no certificate in PEM"),
        (Present(GOOD, "", True, has_key=False), "its key is missing"),
        (Present(GOOD, "", False, has_key=True), "another authority (flannel)"),
        (present(common_name="root"), "root, not etcd"),
        (present(names=("192.0.2.2",)), "192.0.2.2, not 192.0.2.1, etcd1.example.com"),
        (present(usages=("client",)), "client, not for server, client"),
        (present(authority=True), "authority's"),
        (present(not_before=NOW + timedelta(days=1)), "not valid yet"),
        (present(not_after=NOW + timedelta(days=40)), "40 of its 140 days are left"),
        (present(not_after=NOW - timedelta(days=1)), "0 of its 99 days are left"),
    ],
)
def test_why_one_is_made_anew(found: Present, reason: str) -> None:
    (told,) = find_reasons(found, WANTED, NOW)
    assert reason in told


@pytest.mark.parametrize(("percent", "due"), [(33, False), (72, False), (73, True)])
def test_the_share_of_its_life_decides(percent: int, due: bool) -> None:
    assert bool(find_reasons(present(), replace(WANTED, renew_percent=percent), NOW)) == due


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("", ["192.0.2.1"], ["server"], 365, 33), "0 characters"),
        (("x" * 65, ["192.0.2.1"], ["server"], 365, 33), "65 characters"),
        (("etcd", ["etcd_1"], ["server"], 365, 33), "neither an IP address nor a DNS name"),
        (("etcd", [], ["server"], 365, 33), "names is empty"),
        (("etcd", [], [], 365, 33), "usages is empty"),
        (("etcd", [], ["client"], 0, 33), "valid that long"),
        (("etcd", [], ["client"], 365, 100), "no share"),
    ],
)
def test_bad_wishes_are_refused(arguments: tuple[str, list[str], list[str], int, int], cause: str) -> None:
    with pytest.raises(CertificateError) as caught:
        read_wanted(*arguments)
    assert cause in caught.value.cause


def test_names_are_compared_in_one_spelling() -> None:
    wanted = read_wanted(
        "etcd", ["Etcd1.Example.com", "192.0.2.1", "2001:DB8::1", "192.0.2.1"], ["client", "server"], 365, 33
    )
    assert wanted.names == ("192.0.2.1", "2001:db8::1", "etcd1.example.com")
    assert wanted.usages == ("server", "client")


def test_what_is_signed_is_what_was_wanted_and_no_more(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "tls", "flannel", 3650, NOW)
    key = _x509.make_key()
    # The host asks for another name than it gets.
    text = _x509.sign(authority, _x509.make_request(key, "root"), WANTED, NOW)
    made = _x509.read_certificate(text.encode(), "test")
    assert (made.common_name, made.names, made.usages) == ("etcd", WANTED.names, WANTED.usages)
    assert (made.issuer, made.authority) == ("flannel", False)
    assert made.not_after == NOW + timedelta(days=365)
    assert _x509.is_pair(text.encode(), key)
    assert not _x509.is_pair(text.encode(), _x509.make_key())
    assert _x509.is_issued_by(text.encode(), authority)
    assert find_reasons(Present(made, "", True, True), WANTED, NOW) == ()
    assert "valid: 365 days" in describe_wanted(WANTED, authority.facts.fingerprint)

    leaf = x509.load_pem_x509_certificate(text.encode())
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    root = authority.certificate
    assert (
        leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        == root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    )
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "flannel", 30, NOW)
    text = _x509.sign(authority, _x509.make_request(_x509.make_key(), "etcd"), WANTED, NOW)
    assert _x509.read_certificate(text.encode(), "test").not_after == NOW + timedelta(days=30)


def test_the_authority_is_for_its_owner_only_and_stays(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "tls"
    assert find_authority(directory, NOW) is None
    made = make_authority(directory, "flannel", 3650, NOW)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in directory.iterdir()) == [".gitignore", "ca.crt", "ca.key"]
    found = find_authority(directory, NOW)
    assert found is not None
    assert found.facts == made.facts


def test_what_an_interrupted_run_has_left_is_completed(tmp_path: Path) -> None:
    (tmp_path / "ca.key").write_bytes(_x509.make_key())
    (tmp_path / "ca.key").chmod(0o600)
    key = (tmp_path / "ca.key").read_bytes()
    assert find_authority(tmp_path, NOW) is None
    make_authority(tmp_path, "flannel", 3650, NOW)
    assert (tmp_path / "ca.key").read_bytes() == key


def test_an_authority_made_elsewhere_is_taken(tmp_path: Path) -> None:
    CertificateAuthority(tmp_path)
    (tmp_path / "ca.key").chmod(0o600)
    authority = find_authority(tmp_path, datetime.now(timezone.utc))
    assert authority is not None
    now = datetime.now(timezone.utc)
    text = _x509.sign(authority, _x509.make_request(_x509.make_key(), "etcd"), WANTED, now)
    assert _x509.is_issued_by(text.encode(), authority)


def break_key_away(directory: Path) -> None:
    (directory / "ca.key").unlink()


def break_mode(directory: Path) -> None:
    (directory / "ca.key").chmod(0o640)


def break_pair(directory: Path) -> None:
    (directory / "ca.key").write_bytes(_x509.make_key())


def break_key(directory: Path) -> None:
    (directory / "ca.key").write_bytes(b"junk-secret")


def break_certificate(directory: Path) -> None:
    (directory / "ca.crt").write_bytes(b"junk")


def break_role(directory: Path) -> None:
    pair = CertificateAuthority(directory / "other").issue("leaf")
    (directory / "ca.crt").write_bytes(pair.cert.read_bytes())
    (directory / "ca.key").write_bytes(pair.key.read_bytes())


def break_passphrase(directory: Path) -> None:
    encrypt_key(directory / "ca.key", directory / "encrypted", "open-sesame")
    (directory / "ca.key").write_bytes((directory / "encrypted").read_bytes())


def leave_it(directory: Path) -> None:
    del directory


@pytest.mark.parametrize(
    ("damage", "later", "cause", "next_step"),
    [
        (break_key_away, 0, "ca.key is not", "bring ca.key"),
        (break_mode, 0, "mode 0640", "chmod 600"),
        (break_pair, 0, "not the key of ca.crt", "belong together"),
        (break_key, 0, "no private key in PEM", "right one"),
        (break_certificate, 0, "no certificate in PEM", "good one"),
        (break_role, 0, "not the certificate of an authority", "may sign"),
        (break_passphrase, 0, "encrypted", "without its passphrase"),
        (leave_it, 3651, "valid from", "move the directory away"),
    ],
)
def test_an_authority_that_cannot_sign_says_why(
    tmp_path: Path, damage: object, later: int, cause: str, next_step: str
) -> None:
    make_authority(tmp_path, "flannel", 3650, NOW)
    assert callable(damage)
    damage(tmp_path)
    with pytest.raises(CertificateError) as caught:
        find_authority(
            tmp_path, datetime.now(timezone.utc) if damage is break_role else NOW + timedelta(days=later)
        )
    assert cause in caught.value.cause
    assert next_step in caught.value.next_step
    assert "junk-secret" not in str(caught.value)


def test_a_request_that_was_changed_on_its_way_is_refused(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "flannel", 3650, NOW)
    with pytest.raises(CertificateError, match="no request"):
        _x509.sign(authority, "junk", WANTED, NOW)
