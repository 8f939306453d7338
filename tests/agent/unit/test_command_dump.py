# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A support archive carries no secret, wherever it was planted, and names what it lacks."""

from __future__ import annotations

import base64
import json
import stat
import tarfile
from pathlib import Path
from typing import Dict

import pytest
from flanneld.commands import dump
from flanneld.commands.masking import MASK, mask
from flanneld.instance import Instance
from flanneld.options import UsageError
from flanneld.outputs.files import FileError

SECRET = "Tr0ub4dor&3-plan<ted>"
CONFIG = json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "wireguard", "PSK": SECRET}})


@pytest.mark.parametrize(
    "text",
    [
        f"FLANNELD_ETCD_PASSWORD={SECRET}",
        f"FLANNELD_ETCD_PASSWORD='{SECRET}'",
        f'--etcd-password="{SECRET}" --v=1',
        f"--etcd-password {SECRET} --v=1",
        f"http://root:{SECRET}@192.0.2.1:2379",
        f"http://a:2379,https://root:{SECRET}@b:2379",
        f"https://root:p@{SECRET}@b:2379/x",
        CONFIG,
        json.dumps(CONFIG),
        json.dumps({"a": json.dumps(CONFIG)}),
        json.dumps({"config": json.dumps({"PSK": f'with "quotes" {SECRET}'})}),
        f"Authorization: Basic {base64.b64encode(('root:' + SECRET).encode()).decode()}",
        f"authorization: Bearer {SECRET}",
        f'"token": "{SECRET}"',
        f"auth token={SECRET}, more",
        f"PrivateKey = {SECRET}",
        f"PresharedKey={SECRET}\nnext",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----\nafter",
        f"-----BEGIN PRIVATE KEY-----\\n{SECRET}",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    masked = mask(text, ())
    assert SECRET not in masked
    assert json.dumps(SECRET)[1:-1] not in masked
    assert base64.b64encode(("root:" + SECRET).encode()).decode() not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"the password is {SECRET}.",
        json.dumps({"said": SECRET + 'é"'}),
        json.dumps(json.dumps(SECRET)),
        base64.b64encode(SECRET.encode()).decode(),
        "Tr0ub4dor%263-plan%3Cted%3E",
    ],
)
def test_a_known_secret_is_masked_wherever_it_stands(text: str) -> None:
    masked = mask(text, [SECRET])
    assert MASK in masked
    assert "Tr0ub4dor" not in masked
    assert base64.b64encode(SECRET.encode()).decode() not in masked


def test_json_with_a_masked_secret_is_not_cut_off() -> None:
    masked = mask(f'{{"PSK": "{SECRET}", "Port": 51820}}', ())
    assert masked == f'{{"PSK": {MASK}, "Port": 51820}}'
    assert mask(json.dumps({"config": CONFIG, "after": 1}), ()).endswith(', "after": 1}')


@pytest.mark.parametrize(
    "text",
    [
        "FLANNELD_ETCD_PASSWORD_FILE=/etc/flanneld/password",
        "--etcd-password-file=/etc/flanneld/password --iface=eth0",
        "http://192.0.2.1:2379,http://192.0.2.2:2379",
        "https://[2001:db8::1]:2379/path",
        '{"PublicIP":"192.0.2.1","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
        "10.5.3.0/24 via 10.5.3.0 dev flannel.1 onlink proto 102",
        "-A FLANNEL-FWD -s 10.5.0.0/16 -j ACCEPT",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    ],
)
def test_what_is_needed_stays(text: str) -> None:
    assert mask(text, ["x", ""]) == text


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with secrets in every place where one may have put them. etcd does not answer."""
    monkeypatch.chdir(tmp_path)
    for name, value in (
        ("env_file", "flanneld.env"),
        ("state_dir", "state"),
        ("run_dir", "run"),
    ):
        monkeypatch.setattr(Instance, name, str(tmp_path / value))
    (tmp_path / "password").write_text(f"{SECRET}\n")
    (tmp_path / "password").chmod(0o600)
    (tmp_path / "flanneld.env").write_text(f"FLANNELD_ETCD_PASSWORD={SECRET}\nA=b\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "lease.json").write_text(json.dumps({"version": 1, "config": CONFIG}))
    (tmp_path / "state" / "flannel.1.mac").write_text("02:00:00:00:00:01\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "subnet.env").write_text(f"FLANNEL_MTU=1450\n# psk: {SECRET}\n")
    return tmp_path


def flags(host: Path) -> list[str]:
    return [
        f"--etcd-endpoints=https://root:{SECRET}@127.0.0.1:9",
        "--etcd-username=root",
        f"--etcd-password-file={host}/password",
    ]


def read_archive(path: Path) -> Dict[str, str]:
    """Name without the directory -> text."""
    with tarfile.open(path) as archive:
        assert all(member.mode == 0o600 for member in archive)
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive
        }


def test_planted_secrets_are_nowhere_in_the_archive(host: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert dump.run(["dump.tar.gz", *flags(host)], {}) == 0
    parts = read_archive(host / "dump.tar.gz")
    told = capfd.readouterr()
    for where, text in {**parts, "stdout": told.out, "stderr": told.err}.items():
        assert "Tr0ub4dor" not in text, where
        assert base64.b64encode(SECRET.encode()).decode() not in text, where
    assert parts["state/flannel.1.mac"] == "02:00:00:00:00:01\n"
    assert "A=b" in parts["service.env"]
    assert "FLANNEL_MTU=1450" in parts["subnet.env"]
    assert MASK in parts["state/lease.json"]
    assert stat.S_IMODE((host / "dump.tar.gz").stat().st_mode) == 0o600


def test_what_is_missing_is_named_with_the_reason(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump.run(["dump.tar.gz", *flags(host)], {})
    parts = read_archive(host / "dump.tar.gz")
    missing = dict(line.split(": ", 1) for line in parts["missing.txt"].splitlines())
    assert "not running" in missing["status.json"]
    assert "store.json" in missing
    assert not missing.keys() & parts.keys()
    told = capsys.readouterr()
    assert told.out == "dump.tar.gz\n"
    assert "status.json: missing\n" in told.err
    assert "subnet.env\n" in told.err


def test_settings_that_cannot_be_used_are_no_reason_for_no_dump(
    host: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flanneld.commands.settings._ETC", host)
    assert dump.run(["dump.tar.gz"], {"FLANNELD_FIREWALL": "ipfw"}) == 0
    assert "ipfw" in read_archive(host / "dump.tar.gz")["settings.txt"]
    assert "ipfw" in capsys.readouterr().err


def test_an_older_file_does_not_keep_its_mode_and_a_link_is_not_followed(host: Path) -> None:
    (host / "dump.tar.gz").write_text("old")
    (host / "dump.tar.gz").chmod(0o644)
    dump.run(["dump.tar.gz", *flags(host)], {})
    assert stat.S_IMODE((host / "dump.tar.gz").stat().st_mode) == 0o600
    (host / "link").symlink_to(host / "elsewhere")
    with pytest.raises(FileError, match="link"):
        dump.run(["link", *flags(host)], {})


def test_without_a_file_the_name_tells_host_and_time(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump.run(flags(host), {})
    (written,) = host.glob("flanneld-dump-*.tar.gz")
    assert capsys.readouterr().out == f"{written.name}\n"


def test_a_typo_is_refused(host: Path) -> None:
    with pytest.raises(UsageError, match="--etcd-endpoint"):
        dump.run(["--etcd-endpoint=x"], {})
    with pytest.raises(UsageError, match="one file"):
        dump.run(["one", "two"], {})
