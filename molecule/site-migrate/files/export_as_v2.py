# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move a network from etcd's v3 API to what its v2 API would answer: prints that, and leaves nothing in v3. The first
lease does not end, as one that an operator has reserved. etcdctl takes its settings from the environment."""

import base64
import json
import subprocess
from datetime import datetime, timedelta, timezone

PREFIX = "/coreos.com/network"


def run_etcdctl(*arguments: str) -> str:
    return subprocess.run(
        ["etcdctl", *arguments], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout


def main() -> None:
    pairs = json.loads(run_etcdctl("get", "--prefix", "--write-out=json", PREFIX + "/"))["kvs"]
    values = {
        base64.b64decode(pair["key"]).decode(): base64.b64decode(pair["value"]).decode() for pair in pairs
    }
    leases = []
    for key, value in values.items():
        if not key.startswith(f"{PREFIX}/subnets/"):
            continue
        lease = json.loads(value)
        plain = json.dumps({"PublicIP": lease["PublicIP"], "BackendType": lease["BackendType"]})
        node = {"key": key, "value": plain, "modifiedIndex": 7, "createdIndex": 7}
        if leases:
            ends = datetime.now(timezone.utc) + timedelta(hours=20)
            node.update(expiration=f"{ends:%Y-%m-%dT%H:%M:%S}.123456789Z", ttl=72000)
        leases.append(node)
    nodes = [
        {
            "key": f"{PREFIX}/config",
            "value": values[f"{PREFIX}/config"],
            "modifiedIndex": 4,
            "createdIndex": 4,
        },
        {"key": f"{PREFIX}/subnets", "dir": True, "nodes": leases, "modifiedIndex": 5, "createdIndex": 5},
    ]
    top = {"key": PREFIX, "dir": True, "nodes": nodes, "modifiedIndex": 4, "createdIndex": 4}
    run_etcdctl("del", "--prefix", PREFIX + "/")
    print(json.dumps({"action": "get", "node": top}))


if __name__ == "__main__":
    main()
