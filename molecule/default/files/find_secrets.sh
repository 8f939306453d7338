#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# find_secrets.sh FILE...: every place that a private key or the password of one of these files can be read in, one per
# line: the files of the host, the journal, arguments and environment of all processes, properties of the units,
# archives for support. Then which of the files themselves others may read. A FILE that is not there is passed over.
set -euo pipefail

lines=$(mktemp /dev/shm/secrets.XXXXXX)
trap 'rm -f "$lines"' EXIT
for file in "$@"; do
    [ -e "$file" ] || continue
    # The first line that is not the frame of a key: it is in every copy, whatever is around it.
    grep --max-count=1 --invert-match --regexp='^-----' "$file" >> "$lines"
    find "$file" -perm /o=rwx -printf '%p is readable for others\n'
done
[ -s "$lines" ]

grep --recursive --files-with-matches --fixed-strings --file="$lines" --devices=skip --no-messages \
    /etc /root /run/flannel* /run/systemd /run/weft* /tmp /usr/lib/flanneld /usr/local /var/lib/flanneld* /var/log ||
    [ $? -eq 2 ]

# report NAME: name it if a secret is in stdin
report() { if [ "$(grep --count --text --fixed-strings --file="$lines")" -gt 0 ]; then echo "$1"; fi; }

journalctl --no-pager --output=verbose | report "the journal"
for process in /proc/[0-9]*; do
    for part in cmdline environ; do
        { cat "$process/$part" 2> /dev/null || true; } | report "$process/$part"
    done
done
systemctl show 'flanneld*' 'etcd*' | report "properties of the units"
for archive in /root/*.tar.gz; do
    [ -e "$archive" ] || continue
    tar --extract --to-stdout --gzip --file="$archive" | report "$archive"
done
