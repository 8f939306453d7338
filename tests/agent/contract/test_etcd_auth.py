# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""User and password for etcd: rows 8 and 9 of docs/decisions/0002-etcd3-guards.md.

Tokens live two seconds here, instead of the five minutes of a usual etcd.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreAuthError, StoreError
from ansible_collections.weft.flannel.plugins.module_utils._password import read_password
from ansible_collections.weft.flannel.plugins.module_utils._store import StoreOptions, open_store
from flanneld.leasing import LeaseKept
from flanneld.options import UsageError, parse_options

from tests.support.certs import make_signing_key
from tests.support.etcd import EtcdServer, ServerTLS
from tests.support.lease_world import LeaseWorld, make_claim
from tests.support.leases import config
from tests.support.waiting import wait_until
from tests.support.watching import WatchingThread

CONFIG = "/coreos.com/network/config"
SUBNETS = "/coreos.com/network/subnets/"
NODES = "/coreos.com/network/nodes/"
USER = "flannel"
PASSWORD = "correct-horse-battery"
LEAST_RIGHTS = (f"read {CONFIG}", f"--prefix=true readwrite {SUBNETS}", f"--prefix=true readwrite {NODES}")


def make_user(server: EtcdServer) -> None:
    """The user flannel, with no more rights than flanneld needs, and authentication on."""
    server.ctl("role", "add", "flannel")
    for right in LEAST_RIGHTS:
        server.ctl("role", "grant-permission", "flannel", *right.split())
    set_password(server, PASSWORD)
    server.enable_auth()


def set_password(server: EtcdServer, password: str) -> None:
    server.ctl("user", "add", f"{USER}:{password}")
    server.ctl("user", "grant-role", USER, "flannel")


def count_expired(server: EtcdServer) -> int:
    return server.log.read_text().count("deleted a simple token")


def wait_for_expiry(server: EtcdServer) -> None:
    """Until etcd has forgotten one token more."""
    before = count_expired(server)
    wait_until(lambda: count_expired(server) > before, "etcd forgets the token")


@pytest.fixture(scope="session")
def server_tls(authority):
    pair = authority.issue("auth", ["127.0.0.1"])
    return ServerTLS(authority.cert, pair.cert, pair.key)


@pytest.fixture
def guarded(tmp_path, server_tls):
    """A member that wants a user, whose tokens live two seconds."""
    flags = ("--auth-token=simple", "--auth-token-ttl=2", "--log-level=info")
    with EtcdServer(tmp_path / "etcd", tls=server_tls, flags=flags) as server:
        make_user(server)
        yield server


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def open_client(guarded, password_file):
    """A store as the agent has one: the password is read from its file."""
    opened = []

    def open_one(**changes):
        options = replace(
            guarded.options, username=USER, password=functools.partial(read_password, password_file)
        )
        store = open_store(replace(options, **changes))
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


# what works


@pytest.mark.newest
def test_the_least_rights_are_enough_for_all_that_flanneld_does(guarded, open_client):
    guarded.put(CONFIG, "{}")
    store = open_client()
    assert store.get(CONFIG).value == b"{}"
    listing = store.list(SUBNETS)
    lease_id = store.grant(60)
    created = store.create(SUBNETS + "10.5.1.0-24", b"1", lease_id)
    assert store.replace(SUBNETS + "10.5.1.0-24", b"2", created.revision, lease_id).succeeded
    assert store.create(NODES + "id", b"", lease_id).succeeded
    assert store.keep_alive(lease_id) > 0
    watching = WatchingThread(store, SUBNETS, listing.revision + 1)
    assert watching.next_batch().events[0].item.value == b"1"
    watching.stop.set()
    assert watching.has_ended(within=5)
    store.revoke(lease_id)
    assert store.list(SUBNETS).items == ()


def test_one_login_serves_many_calls(guarded, open_client):
    store = open_client()
    before = guarded.count_calls("Authenticate")
    for _call in range(5):
        store.list(SUBNETS)
    assert guarded.count_calls("Authenticate") == before + 1


def test_an_etcd_without_authentication_takes_the_user_before_it_is_turned_on(
    tmp_path, server_tls, password_file
):
    """So that hosts can be given their password first. The same connection goes on when it is turned on."""
    with EtcdServer(tmp_path / "open", tls=server_tls) as server:
        password = functools.partial(read_password, password_file)
        store = open_store(replace(server.options, username=USER, password=password))
        assert store.create(SUBNETS + "10.5.1.0-24", b"").succeeded
        make_user(server)
        assert store.create(SUBNETS + "10.5.2.0-24", b"").succeeded
        assert len(store.list(SUBNETS).items) == 2
        server.ctl("auth", "disable")
        assert store.create(SUBNETS + "10.5.3.0-24", b"").succeeded
        store.close()


# what is refused


def test_a_wrong_password_is_told_at_once_and_tried_once(guarded, open_client):
    store = open_client(password=lambda: "something-else")
    before = guarded.count_calls("Authenticate")
    with pytest.raises(StoreAuthError) as caught:
        store.get(CONFIG)
    assert f"etcd user {USER}: etcd knows no such user with this password" in str(caught.value)
    assert "something-else" not in str(caught.value)
    assert guarded.count_calls("Authenticate") == before + 1


def test_what_the_user_may_not_do_names_user_key_and_rights(open_client):
    store = open_client()
    with pytest.raises(StoreAuthError) as caught:
        store.create(CONFIG, b"{}")
    text = str(caught.value)
    assert text.startswith(f"etcd key {CONFIG}: etcd refuses access to user {USER} (permission denied)")
    assert "read on PREFIX/config and readwrite below PREFIX/subnets/ and PREFIX/nodes/" in text
    with pytest.raises(
        StoreAuthError, match="etcd watch of /elsewhere/: etcd refuses access to user flannel"
    ):
        next(store.watch("/elsewhere/", 1, threading.Event()))
    assert store.list(SUBNETS).items == ()


def test_a_client_that_names_no_user_is_told_to(guarded):
    store = open_store(guarded.options)
    with pytest.raises(StoreAuthError, match="give a user name and its password"):
        store.get(CONFIG)
    with pytest.raises(StoreAuthError, match="give a user name and its password"):
        next(store.watch(SUBNETS, 1, threading.Event()))
    store.close()


@pytest.mark.parametrize(
    "endpoints",
    [("http://127.0.0.1:2379",), ("127.0.0.1:2379",), ("https://127.0.0.1:2379", "http://127.0.0.2:2379")],
)
def test_a_password_never_goes_over_a_plain_connection(endpoints):
    def password():
        raise AssertionError("it is not even read")

    with pytest.raises(StoreError, match="its password would go in clear text to http://127"):
        open_store(StoreOptions(endpoints, username=USER, password=password))


@pytest.mark.parametrize("given", [{"username": USER}, {"password": lambda: PASSWORD}])
def test_user_and_password_come_together(given):
    with pytest.raises(StoreError, match="give both, or neither"):
        StoreOptions(("https://127.0.0.1:2379",), **given)


# a token that ends while we run


@pytest.mark.newest
def test_an_expired_token_is_renewed_by_the_call_that_meets_it(guarded, open_client):
    store = open_client()
    lease_id = store.grant(60)
    created = store.create(SUBNETS + "10.5.1.0-24", b"1", lease_id)
    for write in (
        lambda: store.replace(SUBNETS + "10.5.1.0-24", b"2", created.revision, lease_id).succeeded,
        lambda: store.keep_alive(lease_id) > 0 and store.get(SUBNETS + "10.5.1.0-24").value == b"2",
        lambda: store.grant(60),
        lambda: store.revoke(lease_id) is None and store.list(SUBNETS).items == (),
    ):
        wait_for_expiry(guarded)
        assert write()


def test_a_lease_is_held_over_the_end_of_many_tokens(guarded, open_client):
    """Renewed every four seconds, which is twice the life of a token."""
    world = LeaseWorld(open_client, "/coreos.com/network")
    claim, manager = make_claim(1), world.manager(ttl=12)
    lease = manager.acquire(claim, config())
    held = world.hold(lease, claim, config(), manager)
    expired = count_expired(guarded)
    for _renewal in range(4):
        assert held.next() == LeaseKept(lease, 12)
    assert count_expired(guarded) > expired
    world.close()


def test_a_token_that_etcd_lost_in_a_restart_is_renewed(guarded, open_client):
    store = open_client()
    store.list(SUBNETS)
    guarded.restart()
    assert store.create(SUBNETS + "10.5.1.0-24", b"").succeeded


@pytest.mark.newest
def test_a_running_watch_outlives_its_token(guarded, open_client):
    """etcd looks at the token when a watch is made, and not again."""
    store = open_client()
    watching = WatchingThread(store, SUBNETS, store.list(SUBNETS).revision + 1)
    guarded.put(SUBNETS + "10.5.1.0-24", "1")
    assert watching.next_batch().events[0].item.value == b"1"
    wait_for_expiry(guarded)
    guarded.put(SUBNETS + "10.5.1.0-24", "2")
    assert watching.next_batch().events[0].item.value == b"2"
    watching.stop.set()
    assert watching.has_ended(within=5)
    assert watching.fault is None


def test_a_watch_made_with_an_expired_token_delivers(guarded, open_client):
    store = open_client()
    revision = store.list(SUBNETS).revision
    wait_for_expiry(guarded)
    watching = WatchingThread(store, SUBNETS, revision + 1)
    guarded.put(SUBNETS + "10.5.1.0-24", "1")
    assert watching.next_batch().events[0].item.value == b"1"
    watching.stop.set()
    assert watching.has_ended(within=5)


def test_web_tokens_signed_before_a_change_of_roles_are_renewed(tmp_path, server_tls, password_file):
    """ "Revision of auth store is old": such a token is worth nothing after any change of users and roles."""
    pair = make_signing_key(tmp_path)
    token = f"--auth-token=jwt,pub-key={pair.cert},priv-key={pair.key},sign-method=RS256,ttl=10m"
    with EtcdServer(tmp_path / "jwt", tls=server_tls, flags=(token,)) as server:
        make_user(server)
        password = functools.partial(read_password, password_file)
        store = open_store(replace(server.options, username=USER, password=password))
        revision = store.list(SUBNETS).revision
        server.ctl("role", "add", "another")
        assert store.create(SUBNETS + "10.5.1.0-24", b"1").succeeded
        server.ctl("role", "add", "one-more")
        assert next(store.watch(SUBNETS, revision + 1, threading.Event())).events[0].item.value == b"1"
        assert server.count_calls("Authenticate") >= 3
        store.close()


# the password in its file


def test_a_password_rotated_in_its_file_is_taken(guarded, open_client, password_file):
    store = open_client()
    store.list(SUBNETS)
    guarded.ctl("user", "delete", USER)
    set_password(guarded, "another-one")
    with pytest.raises(StoreAuthError, match="no such user with this password"):
        store.list(SUBNETS)
    password_file.write_text("another-one\n")
    assert store.list(SUBNETS).items == ()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_password_file_that_others_may_use_is_refused(password_file, mode):
    password_file.chmod(mode)
    with pytest.raises(StoreError, match=f"others on this host may use it .mode {mode:04o}.; chmod 600"):
        read_password(str(password_file))


@pytest.mark.parametrize(
    ("content", "cause"), [(b"", "it is empty"), (b"\n", "it is empty"), (b"\xff\xfe", "not text in UTF-8")]
)
def test_a_password_file_without_a_password_is_named(password_file, content, cause):
    password_file.write_bytes(content)
    with pytest.raises(StoreError, match=cause) as caught:
        read_password(str(password_file))
    assert str(password_file) in caught.value.subject


def test_a_missing_password_file_is_named(tmp_path):
    with pytest.raises(StoreError, match=f"{tmp_path}/absent: no such file"):
        read_password(str(tmp_path / "absent"))


def test_only_the_line_end_is_no_part_of_a_password(password_file):
    password_file.write_bytes(b" two words \r\n")
    assert read_password(str(password_file)) == " two words "


# flags and the systemd credential


def test_flags_name_the_file(password_file):
    options = parse_options([f"--etcd-username={USER}", f"--etcd-password-file={password_file}"], {})
    assert options.store.username == USER
    assert options.store.password() == PASSWORD


def test_the_systemd_credential_is_the_default(tmp_path):
    (tmp_path / "etcd-password").write_text(PASSWORD)
    (tmp_path / "etcd-password").chmod(0o400)
    environment = {"FLANNELD_ETCD_USERNAME": USER, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert parse_options([], environment).store.password() == PASSWORD
    assert parse_options([], {"CREDENTIALS_DIRECTORY": str(tmp_path)}).store.password is None


def test_without_systemd_the_file_of_the_role_is_the_default():
    assert parse_options([f"--etcd-username={USER}"], {}).etcd_password_file == "/etc/flanneld/etcd-password"
    blue = parse_options([f"--etcd-username={USER}", "--instance=blue"], {})
    assert blue.etcd_password_file == "/etc/flanneld/blue.etcd-password"


def test_a_password_without_a_user_is_a_mistake():
    with pytest.raises(UsageError, match="needed together"):
        parse_options(["--etcd-password-file=/etc/flanneld/password"], {})


# secrecy

PROGRAM = """
import logging, sys, traceback
from ansible_collections.weft.flannel.plugins.module_utils._store import open_store
from flanneld.options import parse_options
logging.basicConfig(level=logging.DEBUG)
options = parse_options(sys.argv[1:], {})
print(options, options.store)
store = open_store(options.store)
print(store.list("/coreos.com/network/subnets/"), vars(store))
for denied in (lambda: store.create("/denied", b""), lambda: next(store.watch("/denied", 1, None))):
    try:
        denied()
    except Exception:
        traceback.print_exc()
print("waiting", flush=True)
sys.stdin.readline()
try:
    open_store(options.store).list("/coreos.com/network/subnets/")
except Exception:
    traceback.print_exc()
"""


def test_a27_nothing_shows_the_password_or_the_token(guarded, password_file):
    arguments = [
        f"--etcd-endpoints={guarded.endpoint}", f"--etcd-cafile={guarded.options.ca_cert}",
        f"--etcd-username={USER}", f"--etcd-password-file={password_file}",
    ]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        shown = []
        for line in process.stdout:
            shown.append(line)
            if line == "waiting\n":
                break
        assert shown[-1:] == ["waiting\n"], shown
        for name in ("cmdline", "environ"):
            shown.append(Path(f"/proc/{process.pid}/{name}").read_text())
        password_file.write_text("a-wrong-secret")
        shown.append(process.communicate("\n", timeout=30)[0])
    text = "".join(shown)
    assert f"etcd refuses access to user {USER}" in text
    assert "etcd knows no such user with this password" in text
    tokens = [line.split('"token":"')[1].split('"')[0] for line in guarded.log.read_text().splitlines()
              if '"token":"' in line]  # fmt: skip
    for secret in (PASSWORD, "a-wrong-secret", *tokens):
        assert secret not in text
