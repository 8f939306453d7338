# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""subnet.env to the byte, and reading it back (spec 3.1, 3.2, 9.3 rows main)."""

from __future__ import annotations

import os
import stat
from ipaddress import ip_network

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._lease import Subnets, format_key, parse_key
from flanneld.outputs.files import FileError, write_atomically
from flanneld.outputs.subnet_env import read_previous_subnets, render_subnet_env
from hypothesis import given
from hypothesis import strategies as st

V4 = ip_network("10.5.34.0/24")
V6 = ip_network("2001:cafe:42::/64")


def test_worked_example_of_appendix_a():
    config = parse_config('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}')
    assert render_subnet_env(config, Subnets(V4, None), 1450, True) == (
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )


def test_dual_stack():
    config = parse_config(
        '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"2001:cafe:42::/56","Backend":{"Type":"vxlan"}}'
    )
    assert render_subnet_env(config, Subnets(V4, V6), 1430, False) == (
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\n"
        "FLANNEL_IPV6_NETWORK=2001:cafe:42::/56\nFLANNEL_IPV6_SUBNET=2001:cafe:42::1/64\n"
        "FLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n"
    )


@pytest.mark.parametrize(
    ("text", "subnets"),
    [
        ("FLANNEL_SUBNET=10.5.34.1/24\n", Subnets(V4, None)),
        ("# mine\nexport FLANNEL_SUBNET='10.5.34.1/24' # here\n", Subnets(V4, None)),
        ('FLANNEL_SUBNET="10.5.34.1/24"\nFLANNEL_IPV6_SUBNET=2001:cafe:42::1/64\n', Subnets(V4, V6)),
        ("FLANNEL_SUBNET=not-a-cidr,10.5.34.1/24\n", Subnets(V4, None)),
        ("FLANNEL_SUBNET=10.244.1.0/24,not-a-cidr,10.244.2.0/24\n", None),
        ("FLANNEL_SUBNET=not-a-cidr\n", None),
        ("FLANNEL_SUBNET=2001:cafe:42::1/64\n", None),
        # networks that no lease can have
        ("FLANNEL_SUBNET=10.5.34.1/32\n", None),
        ("FLANNEL_SUBNET=10.5.34.1/0\nFLANNEL_IPV6_SUBNET=2001:cafe:42::1/64\n", Subnets(None, V6)),
        ("FLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_IPV6_SUBNET=2001:cafe:42::1/128\n", Subnets(V4, None)),
        ("\x00\xff garbage\n", None),
        ("", None),
    ],
)
def test_previous_subnets(tmp_path, text, subnets):
    path = tmp_path / "subnet.env"
    path.write_text(text, encoding="latin-1")
    assert read_previous_subnets(path) == subnets


def test_a_line_on_which_a_careless_pattern_takes_hours(tmp_path):
    path = tmp_path / "subnet.env"
    path.write_text("A=" + " " * 300_000 + '"x\nFLANNEL_SUBNET=10.5.34.1/24\n')
    assert read_previous_subnets(path) == Subnets(V4, None)


def test_no_file_means_no_previous_subnets(tmp_path):
    assert read_previous_subnets(tmp_path / "none") is None


@pytest.mark.parametrize("what", ["directory", "pipe", "loop"])
def test_what_is_no_file_means_no_previous_subnets(tmp_path, what, caplog):
    path = tmp_path / "subnet.env"
    if what == "directory":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path)
    assert read_previous_subnets(path) is None
    assert f"Couldn't read previous {path}: " in caplog.text


LINES = st.lists(
    st.tuples(
        st.sampled_from(["FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET", "export FLANNEL_SUBNET", "X", ""]),
        st.sampled_from(["=", ":", " = ", ""]),
        st.sampled_from(["", "'", '"', " ", "#"]),
        st.sampled_from(["10.5.34.1", "2001:cafe:42::1", "::ffff:10.5.34.1", "0.0.0.0", ""]) | st.text(max_size=5),
        st.sampled_from(["/", "", "/0", "-"]),
        st.integers(-1, 999999999999) | st.integers(0, 130),
        st.sampled_from(["", "'", '"', " # x", ",10.5.35.1/24"]),
    ).map(lambda parts: "".join(map(str, parts))),
    max_size=4,
).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))  # fmt: skip


@given(content=st.binary() | LINES)
def test_any_content_is_subnets_or_nothing(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "subnet.env"
    path.write_bytes(content)
    found = read_previous_subnets(path)
    assert found is None or parse_key(format_key(found)) == found


def test_written_with_mode_0644_whatever_the_umask(tmp_path):
    path = tmp_path / "new" / "subnet.env"
    before = os.umask(0o077)
    try:
        write_atomically(path, "one\n", 0o644)
    finally:
        os.umask(before)
    assert path.read_text() == "one\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "subnet.env"
    path.write_text("old\n")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\udcff", 0o644)
    assert path.read_text() == "old\n"
    assert [one.name for one in tmp_path.iterdir()] == ["subnet.env"]


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "subnet.env", "x", 0o644)
