#!/usr/bin/env bash
# usage: secure_test.sh LIBRARY TARGET
#
# P8.3: a setuid program has no agent, its twin without the bit has. In a mount namespace of its own, because LD_PRELOAD
# does not reach a setuid program: /etc/ld.so.preload does. Needs root; 77 without.
set -euo pipefail
[ "$(id -u)" -eq 0 ] || exit 77
library=$1 target=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cp -a /etc "$folder/etc"
install -m 755 "$library" "$folder/libvigil_agent.so"
install -m 755 "$target" "$folder/plain"
install -m 4755 "$target" "$folder/setuid"
echo "$folder/libvigil_agent.so" >"$folder/etc/ld.so.preload"

run_as_nobody() {
  unshare --mount bash -c 'mount --bind "$0/etc" /etc
    VIGIL_LISTEN=127.0.0.1:0 VIGIL_PROGRAM=plain,setuid exec setpriv --reuid 65534 --clear-groups "$0/$1" exceptions' \
    "$folder" "$1" 2>&1
}
said=$(run_as_nobody plain)
grep -q 'plain\[[0-9]*\]: debug pages at' <<<"$said" || { echo "no agent in the plain program: $said"; exit 1; }
said=$(run_as_nobody setuid)
grep -q 'handler called' <<<"$said" || { echo "the setuid program did not run: $said"; exit 1; }
! grep -q 'vigil:' <<<"$said" || { echo "the agent speaks in a setuid program: $said"; exit 1; }
