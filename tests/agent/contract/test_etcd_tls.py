# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS to etcd: what works, and one clear error for each thing that can be wrong (spec 2.9)."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    StoreAuthError,
    StoreTLSError,
    StoreUnavailable,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import StoreOptions, open_store

from tests.support.certs import CertificateAuthority, encrypt_key
from tests.support.etcd import EtcdServer, ServerTLS, find_free_port

HOSTS = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(scope="session")
def client(authority):
    return authority.issue("client")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """A CA that nobody here trusts."""
    return CertificateAuthority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="session")
def mutual(tmp_path_factory, authority, client):
    """A member that serves TLS and asks for a client certificate."""
    pair = authority.issue("server", HOSTS)
    tls = ServerTLS(authority.cert, pair.cert, pair.key, authority.cert, client.cert, client.key)
    with EtcdServer(tmp_path_factory.mktemp("mutual"), tls=tls) as server:
        yield server


@pytest.fixture(scope="session")
def one_sided(tmp_path_factory, authority):
    """A member that serves TLS to everybody."""
    pair = authority.issue("one-sided", HOSTS)
    with EtcdServer(
        tmp_path_factory.mktemp("one-sided"), tls=ServerTLS(authority.cert, pair.cert, pair.key)
    ) as server:
        yield server


def list_with(options):
    store = open_store(options)
    try:
        return store.list("/")
    finally:
        store.close()


def fail_with(options, kind):
    """The one error of that kind that a list ends with."""
    with pytest.raises(kind) as caught:
        list_with(options)
    assert caught.type is kind
    assert caught.value.next_step
    return caught.value


# what works


@pytest.mark.newest
def test_a_client_certificate_is_shown(mutual):
    assert list_with(mutual.options).cluster_id != 0


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
def test_names_and_ipv6_literals_are_checked_against_the_certificate(tmp_path, authority, host):
    pair = authority.issue("names", HOSTS)
    tls = ServerTLS(authority.cert, pair.cert, pair.key)
    with EtcdServer(tmp_path, address="::1" if host == "[::1]" else "127.0.0.1", tls=tls) as server:
        options = replace(server.options, endpoints=(f"https://{host}:{server.port}",))
        assert list_with(options).cluster_id != 0


def test_a_ca_alone_is_enough_where_etcd_asks_for_no_certificate(one_sided):
    assert list_with(one_sided.options).cluster_id != 0


def test_an_endpoint_without_scheme_has_tls_when_files_are_given(mutual):
    assert list_with(replace(mutual.options, endpoints=(f"127.0.0.1:{mutual.port}",))).cluster_id != 0


def test_http_is_plain_even_when_files_are_given(etcd, mutual):
    assert list_with(replace(mutual.options, endpoints=(etcd.endpoint,))).cluster_id != 0


def test_the_systems_cas_are_taken_where_none_is_given(one_sided, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(one_sided.options.ca_cert))
    assert list_with(StoreOptions((one_sided.endpoint,))).cluster_id != 0


def test_plain_and_tls_endpoints_can_be_mixed(etcd, mutual):
    dead = f"http://127.0.0.1:{find_free_port('127.0.0.1')}"
    assert list_with(replace(mutual.options, endpoints=(dead, mutual.endpoint))).cluster_id != 0
    assert list_with(replace(mutual.options, endpoints=(dead, etcd.endpoint))).cluster_id != 0


def test_a_renewed_certificate_is_used_for_the_next_connection(mutual, stranger, client, tmp_path):
    theirs = stranger.issue("renewed")
    cert, key = (
        Path(shutil.copy(theirs.cert, tmp_path / "cert")),
        Path(shutil.copy(theirs.key, tmp_path / "key")),
    )
    store = open_store(replace(mutual.options, client_cert=str(cert), client_key=str(key)))
    with pytest.raises(StoreAuthError):
        store.list("/")
    shutil.copy(client.cert, cert)
    shutil.copy(client.key, key)
    assert store.list("/").cluster_id != 0
    store.close()


# files that are wrong


@pytest.mark.parametrize("field", ["ca_cert", "client_cert", "client_key"])
def test_a_missing_file_is_named(mutual, tmp_path, field):
    error = fail_with(replace(mutual.options, **{field: str(tmp_path / "absent.pem")}), StoreTLSError)
    assert (str(tmp_path / "absent.pem") in error.subject, error.cause) == (True, "no such file")


@pytest.mark.parametrize("field", ["ca_cert", "client_cert", "client_key"])
def test_an_unreadable_file_is_named(mutual, tmp_path, field):
    # A directory, because the superuser may read every file.
    error = fail_with(replace(mutual.options, **{field: str(tmp_path)}), StoreTLSError)
    assert str(tmp_path) in error.subject
    assert error.cause.startswith("cannot be read")


@pytest.mark.parametrize("field", ["ca_cert", "client_cert", "client_key"])
def test_a_file_that_is_no_pem_is_named(mutual, tmp_path, field):
    (tmp_path / "text").write_text("not a certificate\n")
    error = fail_with(replace(mutual.options, **{field: str(tmp_path / "text")}), StoreTLSError)
    assert str(tmp_path / "text") in error.subject
    assert "not a PEM certificate" in error.cause


def test_a_key_of_another_certificate_is_named(mutual, authority):
    other = authority.issue("other")
    error = fail_with(replace(mutual.options, client_key=str(other.key)), StoreTLSError)
    assert str(other.key) in error.subject
    assert f"not the key of the certificate {mutual.options.client_cert}" in error.cause


def test_an_encrypted_key_is_named(mutual, client, tmp_path):
    encrypt_key(client.key, tmp_path / "encrypted", "secret")
    error = fail_with(replace(mutual.options, client_key=str(tmp_path / "encrypted")), StoreTLSError)
    assert (str(tmp_path / "encrypted") in error.subject, error.cause) == (True, "it is encrypted")


@pytest.mark.parametrize("given", ["client_cert", "client_key"])
def test_certificate_and_key_come_together(mutual, given):
    missing = "client_key" if given == "client_cert" else "client_cert"
    error = fail_with(replace(mutual.options, **{missing: ""}), StoreTLSError)
    assert getattr(mutual.options, given) in error.subject
    assert "comes without its" in error.cause


# servers that do not fit


def test_a_server_signed_by_another_ca_is_not_trusted(mutual, stranger):
    error = fail_with(replace(mutual.options, ca_cert=str(stranger.cert)), StoreTLSError)
    assert mutual.endpoint in error.subject
    assert "not signed by the given CA" in error.cause


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_server_whose_certificate_is_for_another_name_is_not_trusted(tmp_path, authority, client, host):
    pair = authority.issue("elsewhere", ["etcd.example.org", "192.0.2.1"])
    with EtcdServer(tmp_path, tls=ServerTLS(authority.cert, pair.cert, pair.key)) as server:
        error = fail_with(
            replace(server.options, endpoints=(f"https://{host}:{server.port}",)), StoreTLSError
        )
    assert f"not for {host}" in error.cause
    assert host in error.next_step


def test_an_expired_server_certificate_is_told_from_an_unknown_one(tmp_path, authority):
    pair = authority.issue("expired", HOSTS, days=0)
    with EtcdServer(tmp_path, tls=ServerTLS(authority.cert, pair.cert, pair.key)) as server:
        error = fail_with(server.options, StoreTLSError)
    assert "expired" in error.cause


def test_a_server_without_tls_is_told_from_a_dead_one(etcd, mutual):
    error = fail_with(
        replace(mutual.options, endpoints=(f"https://127.0.0.1:{etcd.port}",)), StoreUnavailable
    )
    assert "as a server without TLS does" in error.cause
    assert "http://" in error.next_step


def test_a_server_with_tls_is_told_from_a_dead_one(mutual):
    error = fail_with(StoreOptions((f"http://127.0.0.1:{mutual.port}",)), StoreUnavailable)
    assert "as a server with TLS does" in error.cause
    assert "https://" in error.next_step


def test_a_dead_server_is_no_matter_of_certificates(mutual):
    dead = f"https://127.0.0.1:{find_free_port('127.0.0.1')}"
    error = fail_with(replace(mutual.options, endpoints=(dead,)), StoreUnavailable)
    assert error.cause == "connection refused"


# clients that do not fit


def test_a_client_without_certificate_is_refused(mutual):
    error = fail_with(replace(mutual.options, client_cert="", client_key=""), StoreAuthError)
    assert "refuses our client certificate" in error.cause


def test_a_client_certificate_of_another_ca_is_refused(mutual, stranger):
    theirs = stranger.issue("client")
    options = replace(mutual.options, client_cert=str(theirs.cert), client_key=str(theirs.key))
    error = fail_with(options, StoreAuthError)
    assert "refuses our client certificate" in error.cause


def test_a_user_without_the_right_is_refused_for_calls_and_watches(tmp_path, authority):
    """etcd takes the user name from the common name of the client certificate."""
    root, agent = authority.issue("root"), authority.issue("agent")
    pair = authority.issue("rights", HOSTS)
    tls = ServerTLS(authority.cert, pair.cert, pair.key, authority.cert, root.cert, root.key)
    with EtcdServer(tmp_path, tls=tls) as server:
        for command in (
            "user add root --no-password", "user grant-role root root", "role add flannel",
            "role grant-permission flannel --prefix=true readwrite /allowed/", "user add agent --no-password",
            "user grant-role agent flannel", "auth enable",
        ):  # fmt: skip
            server.ctl(*command.split())
        store = open_store(replace(server.options, client_cert=str(agent.cert), client_key=str(agent.key)))
        assert store.create("/allowed/key", b"value").succeeded
        with pytest.raises(StoreAuthError, match="permission denied"):
            store.create("/denied/key", b"value")
        with pytest.raises(StoreAuthError, match="permission denied"):
            next(store.watch("/denied/", 1, threading.Event()))
        assert store.get("/allowed/key").value == b"value"
        store.close()


def test_faults_of_different_kinds_are_all_told(mutual, stranger):
    dead = f"https://127.0.0.1:{find_free_port('127.0.0.1')}"
    options = replace(mutual.options, endpoints=(dead, mutual.endpoint), ca_cert=str(stranger.cert))
    error = fail_with(options, StoreUnavailable)
    assert f"{dead}: connection refused" in error.cause
    assert f"{mutual.endpoint}: its certificate is not signed" in error.cause
