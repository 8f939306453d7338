# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps from a user of etcd to the one that is wanted."""

from __future__ import annotations

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._access import (
    Grant,
    User,
    find_steps,
    find_wanted,
    read_grants,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreError

READ_CONFIG = Grant("/net/config", "read")
WRITE_CONFIG = Grant("/net/config", "readwrite")
SUBNETS = Grant("/net/subnets/", "readwrite")
NOBODY = User("flanneld", False, frozenset(), False, frozenset())
WANTED = find_wanted("flanneld", frozenset({READ_CONFIG, SUBNETS}))


def test_a_new_user_gets_its_rights_before_it_exists() -> None:
    steps = find_steps(NOBODY, WANTED, set_password=False)
    assert (steps.add_role, steps.add_user, steps.give_roles) == (True, True, ("flanneld",))
    assert set(steps.grant) == {READ_CONFIG, SUBNETS}
    assert (steps.revoke, steps.take_roles, steps.set_password) == ((), (), False)
    assert NOBODY.lines == ""
    assert WANTED.lines == ("user flanneld\nrole flanneld\nread /net/config\nreadwrite /net/subnets/\n")


def test_one_that_fits_needs_nothing() -> None:
    assert not find_steps(WANTED, WANTED, set_password=False).needed
    assert find_steps(WANTED, WANTED, set_password=True).set_password


def test_another_access_is_given_over_the_old_and_not_revoked_after_it() -> None:
    current = User("flanneld", True, frozenset({"flanneld"}), True, frozenset({WRITE_CONFIG, SUBNETS}))
    steps = find_steps(current, WANTED, set_password=False)
    assert (steps.grant, steps.revoke) == ((READ_CONFIG,), ())


def test_what_others_gave_is_taken() -> None:
    foreign = Grant("/", "readwrite", "0x")
    current = User(
        "flanneld", True, frozenset({"flanneld", "root"}), True, frozenset({READ_CONFIG, SUBNETS, foreign})
    )
    steps = find_steps(current, WANTED, set_password=False)
    assert (steps.take_roles, steps.revoke) == (("root",), (foreign,))


def test_root_has_the_role_of_etcd() -> None:
    nobody = User("root", False, frozenset(), False, frozenset())
    steps = find_steps(nobody, find_wanted("root", frozenset()), set_password=False)
    assert (steps.add_role, steps.give_roles, steps.grant) == (False, ("root",), ())


def test_absent_takes_the_role_along() -> None:
    steps = find_steps(WANTED, None, set_password=False)
    assert (steps.remove_user, steps.remove_role) == (True, True)
    assert not find_steps(NOBODY, None, set_password=False).needed


@pytest.mark.parametrize(
    ("name", "grants", "cause"),
    [
        ("root", [{"key": "/a", "access": "read"}], "may do everything"),
        ("a", [{"key": "", "access": "read"}], "empty"),
        ("a", [{"key": "/a", "access": "read"}, {"key": "/a", "access": "write"}], "2 times"),
    ],
)
def test_bad_grants_are_refused(name: str, grants: list[dict[str, str]], cause: str) -> None:
    with pytest.raises(StoreError) as caught:
        read_grants(name, grants)
    assert cause in caught.value.cause
