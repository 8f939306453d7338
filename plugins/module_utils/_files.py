# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""A set of small files on a host: what is there, what differs from what is wanted, and making it right.

All of it is compared before anything is written, so that one entry that cannot be leaves the others alone.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import FileError, OptionError

ABSENT, FILE, DIRECTORY, LINK, OTHER = "absent", "file", "directory", "link", "other"
_OCTAL = re.compile(r"0[0-7]{3}")


@dataclass(frozen=True)
class Access:
    """owner and group: names, or numbers where the host has no name. mode: the permission bits."""

    owner: str
    group: str
    mode: int

    def __str__(self) -> str:
        return f"{self.owner}:{self.group} {self.mode:04o}"


@dataclass(frozen=True)
class Wanted:
    """What is to be at a path. content: of a file. access: None where nothing is to be."""

    path: str
    kind: str
    content: bytes = b""
    access: Optional[Access] = None


@dataclass(frozen=True)
class Present:
    """What is at a path: content of a file, access of a file or directory. Neither where nothing is to be: nobody can
    say whether it is a secret."""

    kind: str
    content: bytes = b""
    access: Optional[Access] = None


@dataclass(frozen=True)
class Step:
    """One path that differs."""

    wanted: Wanted
    present: Present

    @property
    def is_only_access(self) -> bool:
        """Whether it is what it should be, for others than those who should have it."""
        return (self.wanted.kind, self.wanted.content) == (self.present.kind, self.present.content)

    @property
    def diff(self) -> Dict[str, str]:
        """The one that Ansible shows."""
        path = self.wanted.path
        if self.is_only_access:
            before, after = f"{self.present.access}\n", f"{self.wanted.access}\n"
            path = f"{path} (owner, group and mode)"
        else:
            before, after = _render(self.present), _render(self.wanted)
        return {"before_header": path, "after_header": path, "before": before, "after": after}


def _render(state: Any) -> str:
    if state.kind == FILE and state.access is not None:
        return str(state.content.decode("utf-8", "replace"))
    return "" if state.kind == ABSENT else f"({state.kind})\n"


def list_wanted(params: Mapping[str, Any]) -> List[Wanted]:
    """The options of flannel_files in the order in which they are brought about: directories, files, what is to go.

    Raises OptionError for an option that cannot be used, and for a path that is there twice.
    """
    wanted = [
        *(Wanted(_path_of(entry), DIRECTORY, access=_access_of(entry)) for entry in params["directories"]),
        *(
            Wanted(_path_of(entry), FILE, entry["content"].encode(), _access_of(entry))
            for entry in params["files"]
        ),
        *(Wanted(_path_of({"path": path}), ABSENT) for path in params["absent"]),
    ]
    paths = [one.path for one in wanted]
    for path in paths:
        if paths.count(path) > 1:
            raise OptionError(f"path {path}", "it is named twice", "leave one of the entries out")
    return wanted


def _path_of(entry: Mapping[str, Any]) -> str:
    path = str(entry["path"])
    if not path.startswith("/") or path != os.path.normpath(path):
        raise OptionError(
            f"path {path}",
            "it is not a whole path",
            "start with / and leave out //, . and .. and a / at the end",
        )
    return path


def _access_of(entry: Mapping[str, Any]) -> Access:
    mode = entry["mode"]
    # An unquoted 0644 of YAML arrives as 420.
    if not _OCTAL.fullmatch(mode):
        raise OptionError(
            f"path {entry['path']}",
            f"its mode {mode} is not four octal digits, the first of them 0",
            'write it in quotes, such as "0644"',
        )
    return Access(entry["owner"], entry["group"], int(mode, 8))


def plan(wanted: List[Wanted]) -> List[Step]:
    """The paths that differ. Raises FileError where something is in the way, or cannot be read."""
    steps = [compare(one, read_present(one)) for one in wanted]
    return [step for step in steps if step is not None]


def compare(wanted: Wanted, present: Present) -> Optional[Step]:
    """The step from one to the other, None if there is no difference. Raises FileError where that is no small step."""
    may_be_replaced: Tuple[str, ...] = (ABSENT, wanted.kind)
    if wanted.kind != DIRECTORY:
        may_be_replaced = (ABSENT, FILE, LINK)
    if present.kind not in may_be_replaced:
        raise FileError(
            wanted.path,
            f"there is to be {_describe(wanted.kind)} and there is {_describe(present.kind)}",
            "look what it is for, and move it away if nobody needs it",
        )
    same = (wanted.kind, wanted.content, wanted.access) == (present.kind, present.content, present.access)
    return None if same else Step(wanted, present)


def _describe(kind: str) -> str:
    return {ABSENT: "nothing", OTHER: "something else"}.get(kind, f"a {kind}")


def read_present(wanted: Wanted) -> Present:
    """What is there now. A link to a directory is as good as a directory. Raises FileError."""
    path = Path(wanted.path)
    try:
        # NotADirectoryError: a parent is a file; whoever writes is told so.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            facts = path.stat() if wanted.kind == DIRECTORY else path.lstat()
            if stat.S_ISREG(facts.st_mode):
                if wanted.kind != FILE:
                    return Present(FILE)
                return Present(FILE, path.read_bytes(), _access_in(facts))
            if stat.S_ISDIR(facts.st_mode):
                return Present(DIRECTORY, access=_access_in(facts))
            return Present(LINK if stat.S_ISLNK(facts.st_mode) else OTHER)
    except OSError as error:
        raise FileError(
            wanted.path, f"cannot be read ({error.strerror})", "run this as root (become: true)"
        ) from None
    return Present(ABSENT)


def read_access(path: str) -> Optional[Access]:
    """Who may use the file; None if there is none."""
    try:
        return _access_in(Path(path).stat())
    except OSError:
        return None


def _access_in(facts: os.stat_result) -> Access:
    return Access(_name_owner(facts.st_uid), _name_group(facts.st_gid), stat.S_IMODE(facts.st_mode))


def _name_owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _name_group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def take(step: Step, relabel: Callable[[str], object]) -> None:
    """Make the path what it is to be. relabel gives a new path the label that SELinux wants there. Raises FileError."""
    wanted = step.wanted
    try:
        if wanted.access is None:
            Path(wanted.path).unlink()
        elif step.is_only_access:
            _grant(wanted.path, wanted.access)
        else:
            if wanted.kind == DIRECTORY:
                Path(wanted.path).mkdir(parents=True)
                _grant(wanted.path, wanted.access)
            else:
                _write(Path(wanted.path), wanted.content, wanted.access)
            relabel(wanted.path)
    except LookupError as error:
        raise FileError(
            wanted.path,
            f"the host has no such owner or group ({error.args[0]})",
            "make it first, or name another",
        ) from None
    except OSError as error:
        raise FileError(
            wanted.path,
            f"cannot be changed ({error.strerror})",
            "run this as root (become: true), and name a directory in `directories` that is not there yet",
        ) from None


def _grant(path: str, access: Access) -> None:
    shutil.chown(path, access.owner, access.group)
    # After it: a change of owner takes bits away.
    Path(path).chmod(access.mode)


def _write(path: Path, content: bytes, access: Access) -> None:
    """Whole or not at all, and at no moment readable for others than those who should."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _grant(temporary, access)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
