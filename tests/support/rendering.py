# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible makes of a role's templates and variables: its own templating, over its own precedence of variables,
in the process of the test. Starting ansible-playbook for each case would take seconds a case.

Variables are what an operator, or an earlier task, has set: values, not templates. Raises AnsibleError where a task
would fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core 2.18 trusts every text

    def trust_as_template(value: str) -> str:
        return value


ROLES = Path(__file__).resolve().parents[2] / "roles"

# As ansible-playbook does when it starts, once: now plugins are found by their full names.
init_plugin_loader()


def render(role: str, templates: list[str], hosts: dict[str, dict[str, Any]]) -> list[str]:
    """The texts that these files (named without .j2) have on the first host. hosts: name -> its variables; all of them
    are in the group flannel, the first is in the group etcd."""
    templar = _make_templar(role, hosts)
    return [_fill(templar, f"lookup('ansible.builtin.template', '{name}.j2')") for name in templates]


def evaluate(role: str, variables: dict[str, Any], *names: str) -> list[Any]:
    """The values that these variables of the role have when others are set like this."""
    return evaluate_among(role, {"n1": variables}, *names)


def evaluate_among(role: str, hosts: dict[str, dict[str, Any]], *names: str) -> list[Any]:
    """The values that these variables of the role have on the first host. hosts: as for render."""
    templar = _make_templar(role, hosts)
    return [_fill(templar, name) for name in names]


def _make_templar(role: str, hosts: dict[str, dict[str, Any]]) -> Templar:
    loader = DataLoader()
    loader.set_basedir(str(ROLES / role))
    inventory = InventoryManager(loader, parse=False)
    inventory.add_group("flannel")
    inventory.add_group("etcd")
    manager = VariableManager(loader, inventory)
    HostVars(inventory, manager, loader)  # tells the manager of itself
    for host, variables in hosts.items():
        inventory.add_host(host, "flannel")
        for name, value in variables.items():
            manager.set_host_variable(host, name, value)
    first = next(iter(hosts))
    inventory.add_host(first, "etcd")
    files = [ROLES / role / "defaults/main.yml", ROLES / role / "vars/main.yml"]
    play = Play.load(
        {"hosts": first, "vars_files": [str(file) for file in files if file.exists()]},
        variable_manager=manager,
        loader=loader,
    )
    return Templar(loader, manager.get_vars(play=play, host=inventory.get_host(first)))


def _fill(templar: Templar, expression: str) -> Any:
    try:
        return templar.template(trust_as_template("{{ " + expression + " }}"))
    except AnsibleError as error:
        error.add_note(f"in {expression}")
        raise
