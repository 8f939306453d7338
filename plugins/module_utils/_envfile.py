# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Files of variables, read as systemd reads EnvironmentFile= (systemd.exec(5)) and splits $FLANNEL_OPTIONS."""

from __future__ import annotations

import re
from typing import Dict, List

_LINE = re.compile(
    r"""[ \t]*(?:
        [#;](?:[^\\\n]|\\.)*                                            # a comment; a backslash continues it, too
        | (?P<name>[A-Za-z_]\w*)[ \t]*=
          (?P<quoted>(?:[ \t]*(?:'[^']*'|"(?:[^"\\]|\\.)*"))*)[ \t]*    # quotes count only before other text
          (?P<plain>(?:[^\\\n]|\\.)*)
        | [^\n]*
    )(?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_WORD = re.compile(r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\])+""", re.DOTALL)
_PIECE = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|((?:\\.|[^'"\\])+)""", re.DOTALL)


def parse_env_file(text: str) -> Dict[str, str]:
    """The variables that systemd would set; what it would ignore is left out."""
    found: Dict[str, str] = {}
    for match in _LINE.finditer(text):
        if match["name"]:
            quoted = "".join(
                single or re.sub(r'\\(["\\`$\n])', _unescape, double)
                for single, double in _QUOTED.findall(match["quoted"])
            )
            plain = re.sub(r"\\(.)", _unescape, match["plain"].rstrip(), flags=re.DOTALL)
            found[match["name"]] = quoted + plain
    return found


def split_words(value: str) -> List[str]:
    """The arguments that $FLANNEL_OPTIONS, standing alone on a command line of a unit, becomes."""
    return [
        "".join(
            re.sub(r"\\(.)", r"\1", "".join(piece), flags=re.DOTALL)
            for piece in _PIECE.findall(match.group())
        )
        for match in _WORD.finditer(value)
    ]


def _unescape(match: re.Match[str]) -> str:
    """The character behind a backslash; a newline there only continues the line."""
    return "" if match[1] == "\n" else match[1]
