# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the artifact that Galaxy gets, such that the same commit gives the same bytes.

    artifact.py DIRECTORY

ansible-galaxy lists files in the order of the file system, and writes the dates of files and of the build. Here
members are sorted, and all have one date: SOURCE_DATE_EPOCH, or without it the date of the commit. What is left is
the version of zlib: another one may compress to other bytes.
"""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Dict

ROOT = Path(__file__).resolve().parent.parent
FIRST_MEMBERS = ("MANIFEST.json", "FILES.json")


def read_date() -> int:
    """Seconds since 1970 that all members carry."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    git = subprocess.run(
        ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"], stdout=subprocess.PIPE, text=True, check=False
    )
    if git.returncode:
        sys.exit("artifact: no commit to take the date from; set SOURCE_DATE_EPOCH")
    return int(git.stdout)


def build_with_galaxy(directory: Path) -> Path:
    """The artifact as ansible-galaxy makes it of the checkout, in this directory."""
    subprocess.run(
        ["ansible-galaxy", "collection", "build", "--output-path", str(directory), str(ROOT)],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (built,) = directory.glob("*.tar.gz")
    return built


def normalise(built: bytes, date: int) -> bytes:
    """The same collection, its members sorted and dated."""
    with tarfile.open(fileobj=io.BytesIO(built)) as archive:
        infos = {info.name: info for info in archive.getmembers()}
        contents = {name: read_member(archive, info) for name, info in infos.items() if info.isfile()}
    sort_lists(contents)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(infos, key=lambda name: (name not in FIRST_MEMBERS, name)):
            info = infos[name]
            info.mtime = date
            info.pax_headers = {}
            if info.isfile():
                info.size = len(contents[name])
            archive.addfile(info, io.BytesIO(contents.get(name, b"")))
    return gzip.compress(packed.getvalue(), compresslevel=9, mtime=date)


def read_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    member = archive.extractfile(info)
    assert member is not None, f"{info.name} is no file"
    return member.read()


def sort_lists(contents: Dict[str, bytes]) -> None:
    """Sort the list of files, and write its new checksum where ansible-galaxy looks for it."""
    files = json.loads(contents["FILES.json"])
    files["files"].sort(key=lambda entry: entry["name"])
    contents["FILES.json"] = json.dumps(files, indent=True).encode()
    manifest = json.loads(contents["MANIFEST.json"])
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(contents["FILES.json"]).hexdigest()
    contents["MANIFEST.json"] = json.dumps(manifest, indent=True).encode()


def main(directory: Path) -> None:
    date = read_date()
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        built = build_with_galaxy(Path(scratch))
        target = directory / built.name
        target.write_bytes(normalise(built.read_bytes(), date))
    print(target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
