# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection options of the modules."""

from __future__ import annotations

from typing import Any, Dict

import pytest
import yaml
from ansible_collections.weft.flannel.plugins.doc_fragments._etcd import ModuleDocFragment
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    complete_endpoint,
    store_options,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreError


@pytest.mark.parametrize(
    ("endpoint", "complete"),
    [
        ("192.0.2.10", "192.0.2.10:7379"),
        ("http://192.0.2.10", "http://192.0.2.10:7379"),
        ("https://etcd.example.com/", "https://etcd.example.com:7379"),
        ("[2001:db8::1]", "[2001:db8::1]:7379"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]:7379"),
        ("192.0.2.10:2379", "192.0.2.10:2379"),
        ("https://[2001:db8::1]:2379/", "https://[2001:db8::1]:2379/"),
    ],
)
def test_complete_endpoint(endpoint: str, complete: str) -> None:
    assert complete_endpoint(endpoint, 7379) == complete


def make_params(**given: Any) -> Dict[str, Any]:
    return {**{name: option.get("default") for name, option in CONNECTION_SPEC.items()}, **given}


def test_store_options_of_the_defaults() -> None:
    options = store_options(make_params())
    assert options.endpoints == ("http://127.0.0.1:2379",)
    assert (options.ca_cert, options.client_cert, options.client_key) == ("", "", "")


@pytest.mark.parametrize("wrong", [{"endpoints": []}, {"timeout": 0.0}, {"timeout": -1.0}])
def test_values_that_cannot_work(wrong: Dict[str, Any]) -> None:
    with pytest.raises(StoreError):
        store_options(make_params(**wrong))


def test_the_doc_fragment_documents_the_spec() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    for name, option in CONNECTION_SPEC.items():
        for field in ("type", "elements", "default", "aliases"):
            assert documented[name].get(field) == option.get(field), (name, field)
    assert set(documented) == set(CONNECTION_SPEC)
