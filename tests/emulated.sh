#!/usr/bin/env bash
# One rig and its controller as processes, the rig's behind a command such as an emulator:
#
#   tests/emulated.sh target/release-binaries/rigmesh-0.1.0-aarch64-linux qemu-aarch64-static
#
# The controller is RIGMESH_CONTROLLER, a binary of this machine; without it the rig's own. The rig serves wss and takes
# nothing but secure sessions. It is pinged, asked for its statistics, told to start the built-in hasher (a child process,
# behind the same command when that is qemu), asked for the hasher's log, told to stop it, and ended by SIGTERM. Any step
# that fails ends the script with 1 and shows what the rig logged. RIGMESH_LISTEN is where the rig listens (127.0.0.1:0).
set -euo pipefail
test $# -gt 0 || { sed -n '2,4s/^#\( \|$\)//p' "$0" >&2; exit 2; }
binary=$(realpath "$1")
controller=$(realpath "${RIGMESH_CONTROLLER:-$binary}")
shift
before=("$@")

work=$(mktemp -d "${TMPDIR:-/tmp}/rme.XXXXXX")
daemon=
end() {
  code=$?
  if [ -n "$daemon" ]; then kill -KILL "$daemon" 2>/dev/null || true; fi
  if [ "$code" != 0 ] && [ -s "$work/log" ]; then tail -20 "$work/log" >&2; fi
  rm -rf "$work"
}
trap end EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

# The rig may be another user, who must reach the program and have a place of its own.
cp "$binary" "$work/rigmesh"
mkdir "$work/rig" "$work/boss"
chmod 755 "$work" "$work/rigmesh"
chmod 777 "$work/rig"
rig() { "${before[@]}" "$work/rigmesh" --data-dir "$work/rig/data" --json "$@"; }
boss() { timeout 60 "$controller" --data-dir "$work/boss/data" --json "$@" || fail "$*"; }
# The text or number of a key in a row of JSON without blanks.
value() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" | head -1; }
# Runs a command of the controller until its row fits this pattern.
await() {
  local words=$1 row
  shift
  for _ in $(seq 120); do
    row=$(boss "$@")
    case "$row" in *$words*) return ;; esac
    sleep 0.5
  done
  fail "waited in vain for $words in: $row"
}
# The children of a process.
children() { cat "/proc/$1/task/"*/children 2>/dev/null || true; }

case "${before[*]:-}" in *qemu-*) export RIGMESH_CHILD_RUNNER="${before[*]}" ;; esac
said=$(rig version)
echo "version: $said"
test "$(value version <<<"$said")" = "$("$controller" --json version | value version)" || fail "another version"

made=$(rig init --role worker --name rig-1 --tls --address 127.0.0.1 2>/dev/null)
boss init --role controller --name boss >/dev/null 2>&1
rig peers allow "$(boss id | value key)" --grant controller --name boss >/dev/null

# Not by the function: the number must be the rig's, not a shell's.
"${before[@]}" "$work/rigmesh" --data-dir "$work/rig/data" --json serve --listen "${RIGMESH_LISTEN:-127.0.0.1:0}" \
  --require-secure >"$work/said" 2>"$work/log" &
daemon=$!
for _ in $(seq 300); do
  test ! -s "$work/said" || break
  kill -0 "$daemon" 2>/dev/null || fail "the rig ended at once"
  sleep 0.1
done
listen=$(value listen <"$work/said")
case "$listen" in wss://*) echo "listens: $listen" ;; *) fail "it does not serve wss: $(cat "$work/said")" ;; esac

boss peers add "wss://127.0.0.1:${listen##*:}#$(value tls_fingerprint <<<"$made")" --key "$(value key <<<"$made")" \
  --name rig-1 >/dev/null
echo "ping: $(boss ping rig-1)"
await '"secure":true' status rig-1
boss start rig-1 >/dev/null
await '"hashrate_hs":[1-9]' status rig-1
echo "statistics: $(boss status rig-1)"
hasher=$(children "$daemon")
test -n "${hasher// /}" || fail "the hasher is no child of the rig"
boss logs rig-1 -n 5 >"$work/lines"
test -s "$work/lines" || fail "the hasher wrote no log"
echo "log: $(head -1 "$work/lines")"
boss stop rig-1 >/dev/null
await '"miners":[]' status rig-1
for process in $hasher; do
  test ! -e "/proc/$process" || grep -q '^State:.Z' "/proc/$process/status" || fail "the hasher runs on"
done

kill -TERM "$daemon"
code=0
wait "$daemon" || code=$?
daemon=
test "$code" = 0 || fail "SIGTERM ended it with $code"
echo "worked: ${before[*]:-this machine} $(basename "$binary")"
