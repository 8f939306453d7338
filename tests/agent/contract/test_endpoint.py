# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How endpoints are written (spec 2.9)."""

from __future__ import annotations

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._endpoint import parse_endpoint
from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreError
from ansible_collections.weft.flannel.plugins.module_utils._store import StoreOptions, open_store


@pytest.mark.parametrize(
    ("text", "default_scheme", "meant", "target"),
    [
        ("http://127.0.0.1:2379", "https", "http://127.0.0.1:2379", "127.0.0.1:2379"),
        ("https://etcd.example.org:2379", "http", "https://etcd.example.org:2379", "etcd.example.org:2379"),
        ("10.0.0.1:4001", "http", "http://10.0.0.1:4001", "10.0.0.1:4001"),
        ("10.0.0.1:4001", "https", "https://10.0.0.1:4001", "10.0.0.1:4001"),
        ("etcd-1", "http", "http://etcd-1:2379", "etcd-1:2379"),
        ("http://[fd00::1]:2379", "http", "http://[fd00::1]:2379", "[fd00::1]:2379"),
        ("[fd00::1]", "https", "https://[fd00::1]:2379", "[fd00::1]:2379"),
        ("HTTPS://etcd-1:2379/", "http", "https://etcd-1:2379", "etcd-1:2379"),
        ("  http://etcd-1:2379\n", "http", "http://etcd-1:2379", "etcd-1:2379"),
    ],
)
def test_an_endpoint_is_read_as_it_is_meant(text, default_scheme, meant, target):
    endpoint = parse_endpoint(text, default_scheme)
    assert (str(endpoint), endpoint.target) == (meant, target)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "host or port is missing"),
        ("http://", "host or port is missing"),
        ("http://:2379", "host or port is missing"),
        ("http://etcd-1:0", "host or port is missing"),
        ("http://etcd-1:port", "Port could not be cast"),
        ("http://etcd-1:65536", "Port out of range"),
        ("http://fd00::1:2379", "Port could not be cast"),
        ("http://[fd00::1:2379", "Invalid IPv6 URL"),
        ("unix:///run/etcd.sock", "scheme 'unix' is not supported"),
        ("http://etcd-1:2379/v3", "something follows the port"),
        ("http://etcd-1:2379?a=b", "something follows the port"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_reason(text, cause):
    with pytest.raises(StoreError, match=cause) as caught:
        parse_endpoint(text, "http")
    assert repr(text) in caught.value.subject


def test_a_password_in_an_endpoint_is_not_repeated():
    for password in ("secret", "secret/1", "secret#1", "secret?1", "se@cret", "[secret"):
        for text in (f"http://root:{password}@etcd-1:2379", f"root:{password}@etcd-1:port"):
            with pytest.raises(StoreError, match=r"etcd-1.*carries a user name") as caught:
                parse_endpoint(text, "http")
            assert "cret" not in str(caught.value)


def test_endpoints_are_read_when_the_store_is_opened():
    with pytest.raises(StoreError, match="unix"):
        open_store(StoreOptions(("http://127.0.0.1:2379", "unix:///run/etcd.sock")))


def test_no_endpoint_at_all_is_refused():
    with pytest.raises(StoreError, match="name at least one"):
        StoreOptions(())
