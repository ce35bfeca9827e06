#!/usr/bin/env bash
# Static, stripped binaries of rigmesh for Linux, from a machine with Debian or Ubuntu's packages on it:
#
#   bin/release.sh [x86_64|aarch64|armv7 ...]      all three when none is named
#
# They come to <target>/release-binaries/rigmesh-<version>-<arch>-linux, with SHA256SUMS beside them, when `file` says
# that they are static and when they have run: on this machine, or under qemu-user. What is missing here is installed
# (as root or through `sudo -n`); when that cannot be, the script names it and ends with 69.
#
# Two ways lead to the standard library of another processor. Where `rustup target add` works, its toolchain is used.
# Elsewhere Debian's compiler (rustc-web) builds it from Debian's source of it (rust-web-src).
#
# What a running node uses stands in a row in them: bin/release/linker.
#
#   CARGO_TARGET_DIR           where to build; target/ when it is not set
#   RIGMESH_RELEASE_COMPILER   rustup or debian: that way and no other
#   RIGMESH_RELEASE_PROFILE    another profile of Cargo.toml than `dist`, which is what ships
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never

fail() { echo "release: $*" >&2; exit 1; }

target_dir=$(realpath -m "${CARGO_TARGET_DIR:-target}")
out=$target_dir/release-binaries
profile=${RIGMESH_RELEASE_PROFILE:-dist}
compiler=${RIGMESH_RELEASE_COMPILER:-}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
host=$(uname -m)
test "$host" != armv7l || host=armv7

# What each processor is called: by Rust, by the C compiler, by Debian, by qemu.
names_of() {
  case "$1" in
    x86_64) triple=x86_64-unknown-linux-gnu gnu=x86_64-linux-gnu deb=amd64 qemu=x86_64 ;;
    aarch64) triple=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu deb=arm64 qemu=aarch64 ;;
    armv7) triple=armv7-unknown-linux-gnueabihf gnu=arm-linux-gnueabihf deb=armhf qemu=arm ;;
    *) fail "unknown processor $1: name x86_64, aarch64 or armv7" ;;
  esac
  if [ "$1" = "$host" ]; then cc=cc; else cc=$gnu-gcc; fi
}

archs=("$@")
test $# -gt 0 || archs=(x86_64 aarch64 armv7)
for arch in "${archs[@]}"; do names_of "$arch"; done
case "$compiler" in '' | rustup | debian) ;; *) fail "RIGMESH_RELEASE_COMPILER=$compiler: say rustup or debian" ;; esac

# Installs Debian packages, or says which are wanted.
bring() {
  test $# -gt 0 || return 0
  local as_root=(env DEBIAN_FRONTEND=noninteractive) log
  test "$(id -u)" = 0 || as_root=(sudo -n "${as_root[@]}")
  log=$(mktemp)
  echo "release: installing $*"
  if ! { "${as_root[@]}" timeout 300 apt-get -qq update \
    && "${as_root[@]}" timeout 900 apt-get -qq install -y --no-install-recommends "$@"; } </dev/null >"$log" 2>&1; then
    tail -3 "$log" >&2
    rm -f "$log"
    echo "release: this machine lacks these packages of Debian, and they cannot be installed from here: $*" >&2
    exit 69
  fi
  rm -f "$log"
}

# The tools of every build, in one go.
wanted=()
command -v cargo >/dev/null || wanted+=(cargo-web rustc-web)
command -v file >/dev/null || wanted+=(file)
for arch in "${archs[@]}"; do
  names_of "$arch"
  if [ "$arch" = "$host" ]; then
    command -v cc >/dev/null || wanted+=(gcc libc6-dev)
  else
    command -v "$cc" >/dev/null || wanted+=("gcc-${gnu//_/-}")
    test -e "/usr/$gnu/lib/libc.a" || wanted+=("libc6-dev-$deb-cross")
    command -v "qemu-$qemu-static" >/dev/null || wanted+=(qemu-user-static)
  fi
done
# The linker that takes an order of functions: there is one in a toolchain of rustup.
find_lld() {
  local of_rust
  of_rust=$(echo "$(rustc --print sysroot 2>/dev/null || true)"/lib/rustlib/*/bin/gcc-ld)
  if test -e "$of_rust/ld.lld"; then lld=$of_rust; else lld=$(realpath "$(command -v ld.lld)" 2>/dev/null || true); fi
  test -d "$lld" || lld=${lld%/*}
}
find_lld
test -n "$lld" || wanted+=(lld)
mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sort -u | sed '/^$/d')
bring "${wanted[@]}"
find_lld

# Which way leads to the standard library of $triple.
way_of() {
  if [ "$compiler" = debian ]; then
    way=debian
  elif command -v rustup >/dev/null && timeout 600 rustup target add "$triple" >/dev/null 2>&1; then
    way=rustup
  elif [ "$compiler" = rustup ]; then
    fail "rustup cannot add the target $triple here"
  elif [ "$arch" = "$host" ] && command -v rustc >/dev/null; then
    way=rustup # whatever compiler is here has the library of its own machine
  else
    way=debian
  fi
}

mkdir -p "$out"
cargo_home=${CARGO_HOME:-$HOME/.cargo}
for arch in "${archs[@]}"; do
  names_of "$arch"
  way_of
  began=$SECONDS
  build=(cargo build --quiet --locked --bin rigmesh --profile "$profile" --target "$triple")
  # Nothing of the place where it was built stands in a binary. The separator lets paths have spaces.
  flags=("--remap-path-prefix=$cargo_home/registry/src=crates" "--remap-path-prefix=$PWD=rigmesh" -Ctarget-feature=+crt-static)
  # These names say the types a function is for, which the linker's list of functions needs.
  flags+=(-Csymbol-mangling-version=v0)
  # Packed relocations spare 0.2 MiB. The C library's start reads them since 2.36, and says so; older linkers leave them as
  # they are.
  if grep -aqs GLIBC_ABI_DT_RELR "$("$cc" -print-file-name=libc.so.6)"; then
    flags+=(-Clink-arg=-Wl,-z,pack-relative-relocs)
  fi
  # The two compilers must not take what the other has built.
  settings=("CARGO_TARGET_DIR=$target_dir/static-$way")
  if [ "$way" = debian ]; then
    sysroot=$(/usr/bin/rustc --print sysroot 2>/dev/null || true)
    if ! test -e "$sysroot/lib/rustlib/src/rust/library/Cargo.lock"; then
      bring rustc-web rust-web-src
      sysroot=$(/usr/bin/rustc --print sysroot)
    fi
    flags+=("--remap-path-prefix=$(realpath "$sysroot/lib/rustlib/src/rust")=rust")
    # The library is built from source, which its makers keep for their own compilers.
    settings+=(RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1)
    build+=("-Zbuild-std=std,panic_unwind")
  fi
  settings+=("CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}")")
  settings+=("CC_${triple//-/_}=$cc")
  linker=CARGO_TARGET_${triple//-/_}_LINKER
  nm=nm
  test "$arch" = "$host" || nm=$gnu-nm
  place=$target_dir/static-$way/$triple/$profile
  settings+=("${linker^^}=$PWD/bin/release/linker" "RIGMESH_LINKER_CC=$cc" "RIGMESH_LINKER_NM=$nm"
    "RIGMESH_LINKER_LLD=$lld" "RIGMESH_LINKER_COUNT=$place/functions-in-a-row")
  # Cargo does not know of the list.
  if test bin/release/functions -nt "$place/functions-in-a-row"; then rm -f "$place"/{,deps/}rigmesh*; fi
  env "${settings[@]}" "${build[@]}" || fail "the build for $arch failed"

  made=$place/rigmesh
  kind=$(file -b "$made")
  case "$kind" in *"statically linked"* | *"static-pie linked"*) ;; *) fail "$arch is not static: $kind" ;; esac
  run=()
  test "$arch" = "$host" || run=("qemu-$qemu-static")
  said=$("${run[@]}" "$made" version) || fail "$arch does not run"
  case "$said" in "rigmesh $version "*) ;; *) fail "$arch says $said, not version $version" ;; esac

  name=rigmesh-$version-$arch-linux
  cp "$made" "$out/$name.new"
  chmod 755 "$out/$name.new"
  mv "$out/$name.new" "$out/$name"
  size=$(stat -c %s "$out/$name")
  printf '%-36s %9d bytes (%d.%02d MiB), %s, %s%s, %s functions in a row, %d s\n' "$name" "$size" $((size >> 20)) \
    $(((size & 1048575) * 100 >> 20)) "${kind%%,*}" "$way" "${run:+, run under qemu}" "$(cat "$place/functions-in-a-row")" \
    $((SECONDS - began))
done
(cd "$out" && sha256sum "rigmesh-$version-"*-linux >SHA256SUMS)
echo "in $out"
