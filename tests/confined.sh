#!/usr/bin/env bash
# The story of tests/emulated.sh on machines that give little: `tests/confined.sh BINARY`, with a static binary of this
# processor. Needs root, or does what it can; what a machine cannot be made into is named in a line LEFT OUT, and fails
# with RIGMESH_REQUIRE_CONFINED=1.
set -euo pipefail
cd "$(dirname "$0")/.."
test $# = 1 || { echo "usage: tests/confined.sh BINARY" >&2; exit 2; }
binary=$(realpath "$1")
work=$(mktemp -d "${TMPDIR:-/tmp}/rmc.XXXXXX")
daemon=
trap 'test -z "$daemon" || kill -KILL "$daemon" 2>/dev/null || true; rm -rf "$work"' EXIT

story() {
  echo "--- $1"
  shift
  "$@"
}
left_out() {
  echo "LEFT OUT: $*" >&2
  test -z "${RIGMESH_REQUIRE_CONFINED:-}" || exit 1
}

# An unprivileged user.
if setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs true 2>/dev/null; then
  story "an unprivileged user without a name or a home" \
    tests/emulated.sh "$binary" setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs env -u HOME
else
  left_out "an unprivileged user: setpriv cannot change the user here"
fi

# A root that can only be read; data and the controller's files are in memory.
if unshare -m sh -c "mount -t tmpfs tmpfs '$work' && mount -o remount,bind,ro / && ! touch /rigmesh-$$" 2>/dev/null; then
  # shellcheck disable=SC2016 # the inner shell's
  story "a read-only root" unshare -m sh -c 'mount -t tmpfs tmpfs "$1" && mount -o remount,bind,ro / \
    && TMPDIR=$1 tests/emulated.sh "$2"' sh "$work" "$binary"
else
  left_out "a read-only root: no mounts of one's own here"
fi

# A kernel without IPv6: a socket of that family is refused as one that does not know it refuses it.
if [ "$(uname -m)" = x86_64 ] && command -v python3 >/dev/null; then
  # One filter in classic BPF: socket(AF_INET6, ...) gives EAFNOSUPPORT, everything else goes through.
  cat >"$work/without-ipv6" <<'PY'
import ctypes, os, struct, sys
SOCKET, AF_INET6, EAFNOSUPPORT = 41, 10, 97
steps = [(0x20, 0, 0, 0), (0x15, 0, 3, SOCKET), (0x20, 0, 0, 16), (0x15, 0, 1, AF_INET6),
         (0x06, 0, 0, 0x00050000 | EAFNOSUPPORT), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)  # no new privileges, which a filter asks for
if libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0):
    sys.exit("no filter: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
PY
  cat >"$work/has-ipv6" <<'PY'
import errno, socket, sys
try:
    socket.socket(socket.AF_INET6)
except OSError as e:
    sys.exit(1 if e.errno == errno.EAFNOSUPPORT else 2)
PY
  code=0
  python3 "$work/without-ipv6" python3 "$work/has-ipv6" 2>/dev/null || code=$?
  if [ "$code" = 1 ]; then
    RIGMESH_LISTEN=:0 story "a kernel without IPv6, listening on every interface" \
      tests/emulated.sh "$binary" python3 "$work/without-ipv6"
  else
    left_out "a kernel without IPv6: no system call filters here"
  fi
else
  left_out "a kernel without IPv6: the filter that plays one is for x86_64 and wants python3"
fi

# 64 MiB for the rig with its hasher; no swap.
limit=$((64 << 20))
group='' most=''
if [ "$(id -u)" = 0 ]; then
  v2=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
  if mkdir /sys/fs/cgroup/memory/rigmesh-$$ 2>/dev/null; then
    group=/sys/fs/cgroup/memory/rigmesh-$$ most=memory.max_usage_in_bytes
    echo $limit >$group/memory.limit_in_bytes
    echo $limit >$group/memory.memsw.limit_in_bytes 2>/dev/null || true
  elif [ -n "$v2" ] && mkdir "$v2/rigmesh-$$" 2>/dev/null; then
    group=$v2/rigmesh-$$ most=memory.peak
    if ! { echo $limit >"$group/memory.max"; } 2>/dev/null; then rmdir "$group" && group=''; fi
    if [ -n "$group" ]; then { echo 0 >"$group/memory.swap.max"; } 2>/dev/null || true; fi
  fi
fi
if [ -n "$group" ]; then
  # The limit is what is tested, not how much of it the files on disk keep in memory besides.
  # shellcheck disable=SC2016 # the inner shell's
  story "64 MiB of memory" tests/emulated.sh "$binary" sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group"
  echo "most of it used at once, caches of files included: $(($(cat "$group/$most" 2>/dev/null || echo 0) >> 10)) KiB"
  grep -q '^oom_kill [1-9]' "$group/memory.events" "$group/memory.oom_control" 2>/dev/null && { echo "killed for memory" >&2; exit 1; }
  rmdir "$group"
else
  left_out "64 MiB of memory: no control group of one's own here"
fi

# What a rig takes that nobody has asked anything: 3.3 MiB where this was written, pages of the program included. Twice as
# much when they do not stand in a row (bin/release/linker), which this is to notice; a kernel may map a few more than another.
echo "--- an empty rig"
"$binary" --data-dir "$work/rig" init --role worker >/dev/null 2>&1
MALLOC_ARENA_MAX=2 "$binary" --data-dir "$work/rig" --json serve --listen 127.0.0.1:0 >"$work/said" 2>/dev/null &
daemon=$!
for _ in $(seq 100); do
  test ! -s "$work/said" || break
  sleep 0.1
done
grep -q listen "$work/said" || { echo "it does not listen" >&2; exit 1; }
resident=$(awk '/^VmRSS/ {print $2}' "/proc/$daemon/status")
kill -TERM "$daemon"
wait "$daemon"
daemon=
echo "resident: $resident KiB"
if [ "$(getconf PAGESIZE)" = 4096 ] && [ "$resident" -gt 5120 ]; then
  echo "FAILED: more than 5 MiB; bin/release/trace lists anew what a node runs" >&2
  exit 1
fi
