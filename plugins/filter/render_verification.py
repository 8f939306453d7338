# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of weft.flannel.verify as HTML, by Jinja with its own escaping, which Ansible's templates do not have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from jinja2 import Environment, StrictUndefined

DOCUMENTATION = r"""
name: render_verification
author: Weft contributors (@weft-net)
version_added: 0.1.0
short_description: Lay out a verification as HTML
description:
  - Fills a Jinja template with the value of P(weft.flannel.build_verification#filter), as C(report). Every text in it
    is escaped, because host names and errors come from hosts.
positional: _input, template
options:
  _input:
    description: The value.
    type: dict
    required: true
  template:
    description: The file of the template, on the controller.
    type: path
    required: true
seealso:
  - plugin: weft.flannel.build_verification
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Write a page of my own
  ansible.builtin.copy:
    content: "{{ report | weft.flannel.render_verification('page.html.j2') }}"
    dest: page.html
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The page.
  type: str
"""


def render(report: Mapping[str, Any], template: str) -> str:
    """Raises OSError where there is no such file, and jinja2.TemplateError for what cannot be filled."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(Path(template).read_text(encoding="utf-8")).render(report=report)


class FilterModule:
    """Tells Ansible the filter's name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"render_verification": render}
