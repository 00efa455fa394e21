#!/usr/bin/env bash
# Rebuilds the contracts' wasm and says whether it is the committed one.
# Usage and the two ways to get a compiler: contracts/build.sh --help
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here"

CONTRACTS=(payout sla_calculator)
TARGET=wasm32v1-none
# The toolchain of the committed wasm. Any newer one builds too, to other bytes.
RUST=1.95.0
RECORD=wasm/BUILD.toml
SUMS=wasm/SHA256SUMS

usage() {
    cat <<'END'
contracts/build.sh [--with rustup|debian] [--update]

Builds each contract and compares it with contracts/wasm/.

  --with WAY  rustup   a toolchain that has the target wasm32v1-none
              debian   Debian's rustc-web, building core from rust-web-src
              Without it, rustup is taken where it can serve, else debian.
  --update    builds in every way this machine has, replaces the committed wasm
              (by rustup's where both are there) and records compilers and sums.

Exit status: 0 the wasm is what this compiler should give, or no build by this
compiler is recorded and the sources are those of the committed wasm; 1 it is
not; 2 there is no compiler for it.
END
}

how_to_get() {
    cat >&2 <<END
No compiler here can build for $TARGET. Either:

  rustup target add $TARGET --toolchain $RUST
      (after: rustup toolchain install $RUST --profile minimal), or

  apt-get update
  apt-get install --no-install-recommends rustc-web rust-web-src lld-19
      (Debian 12; elsewhere any lld), and cargo-web where there is no cargo yet.
END
}

say() { printf '%s\n' "$*"; }

sha() { sha256sum "$1" | cut -d' ' -f1; }

# What the wasm is made from: manifests, lock and sources, tests and their budgets left out.
source_sha256() {
    find Cargo.toml Cargo.lock ./*/Cargo.toml ./*/src -type f \
        \( -name '*.rs' -o -name 'Cargo.*' \) \
        ! -path '*/src/test/*' ! -path '*/src/test.rs' ! -path './cost_budgets/*' | LC_ALL=C sort |
        xargs -d '\n' sha256sum | sha256sum | cut -d' ' -f1
}

# --- the two ways --------------------------------------------------------------

rustup_toolchain() { # prints the toolchain to use; nothing for "as it comes"
    if [ -z "${RUSTUP_TOOLCHAIN:-}" ] && command -v rustup >/dev/null &&
        rustup run "$RUST" rustc --version >/dev/null 2>&1; then
        printf '%s' "$RUST"
    else
        printf '%s' "${RUSTUP_TOOLCHAIN:-}"
    fi
}

# Runs its arguments with the toolchain of the way "rustup".
with_rustup() (
    toolchain="$(rustup_toolchain)"
    [ -z "$toolchain" ] || export RUSTUP_TOOLCHAIN="$toolchain"
    exec "$@"
)

can_rustup() {
    command -v cargo >/dev/null && command -v rustc >/dev/null || return 1
    local libdir
    libdir="$(with_rustup rustc --print target-libdir --target "$TARGET" 2>/dev/null)" || return 1
    compgen -G "$libdir/libcore-*.rlib" >/dev/null
}

DEBIAN_RUSTC=/usr/bin/rustc

wasm_linker() {
    local linker
    for linker in wasm-ld wasm-ld-{22,21,20,19,18,17,16}; do
        if command -v "$linker"; then return 0; fi
    done
    return 1
}

can_debian() {
    command -v cargo >/dev/null && [ -x "$DEBIAN_RUSTC" ] && wasm_linker >/dev/null &&
        [ -f "$("$DEBIAN_RUSTC" --print sysroot)/lib/rustlib/src/rust/library/core/Cargo.toml" ]
}

compiler() { # way
    case "$1" in
    rustup) with_rustup rustc --version ;;
    debian) "$DEBIAN_RUSTC" --version ;;
    esac
}

# No path of this machine may reach the wasm, or it could not be rebuilt elsewhere.
remapped() { # way
    local directory cargo_home="${CARGO_HOME:-$HOME/.cargo}" sysroot
    case "$1" in
    rustup) sysroot="$(with_rustup rustc --print sysroot)" ;;
    debian) sysroot="$("$DEBIAN_RUSTC" --print sysroot)" ;;
    esac
    local flags=("--remap-path-prefix=$sysroot=/rust")
    # build-std compiles where this link leads
    directory="$(readlink -f "$sysroot/lib/rustlib/src/rust" 2>/dev/null || true)"
    [ -z "$directory" ] || flags+=("--remap-path-prefix=$directory=/rust/lib/rustlib/src/rust")
    flags+=("--remap-path-prefix=$cargo_home=/cargo")
    # The directory's name tells which registry the sources came from.
    for directory in "$cargo_home"/registry/src/*/; do
        flags+=("--remap-path-prefix=${directory%/}=/cargo/crates")
    done
    flags+=("--remap-path-prefix=$here=/contracts")
    local IFS=$'\x1f'
    printf '%s' "${flags[*]}"
}

build() { # way -> contracts/target/<way>/$TARGET/release/*.wasm
    local way="$1" packages=() name
    for name in "${CONTRACTS[@]}"; do packages+=(-p "$name"); done
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_DIR CARGO_BUILD_RUSTFLAGS
    case "$way" in
    rustup)
        with_rustup cargo fetch --locked --quiet
        CARGO_ENCODED_RUSTFLAGS="$(remapped "$way")" CARGO_TARGET_DIR="$here/target/$way" \
            with_rustup cargo build --locked --release --target "$TARGET" "${packages[@]}"
        ;;
    debian)
        export RUSTC="$DEBIAN_RUSTC"
        cargo fetch --locked --quiet
        # RUSTC_BOOTSTRAP is for this command alone: it is what -Z asks for.
        CARGO_ENCODED_RUSTFLAGS="$(remapped "$way")" CARGO_TARGET_DIR="$here/target/$way" \
            RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32V1_NONE_LINKER="$(wasm_linker)" \
            cargo build --locked --release --target "$TARGET" -Z build-std=core,alloc \
            "${packages[@]}"
        unset RUSTC
        ;;
    esac
}

built() { printf '%s' "target/$1/$TARGET/release/$2.wasm"; } # way, contract

# --- the record ----------------------------------------------------------------

record() { # ways..., the first one is committed
    {
        say '# Which compiler gives which bytes. Written by contracts/build.sh --update.'
        say "source_sha256 = \"$(source_sha256)\""
        local way name committed=true
        for way in "$@"; do
            for name in "${CONTRACTS[@]}"; do
                say ''
                say '[[build]]'
                say "contract = \"$name\""
                say "rustc = \"$(compiler "$way")\""
                say "way = \"$way\""
                say "sha256 = \"$(sha "$(built "$way" "$name")")\""
                say "committed = $committed"
            done
            committed=false
        done
    } >"$RECORD"
}

recorded_sum() { # contract, compiler, way
    [ -f "$RECORD" ] || return 0
    awk -F' = ' -v c="\"$1\"" -v r="\"$2\"" -v w="\"$3\"" '
        /^\[\[build\]\]/ { contract = rustc = way = "" }
        $1 == "contract" { contract = $2 }
        $1 == "rustc" { rustc = $2 }
        $1 == "way" { way = $2 }
        $1 == "sha256" && contract == c && rustc == r && way == w { gsub(/"/, "", $2); print $2 }
    ' "$RECORD"
}

committed_compilers() {
    [ -f "$RECORD" ] || return 0
    sed -n 's/^rustc = "\(.*\)"$/\1/p' "$RECORD" | LC_ALL=C sort -u | paste -sd';' - | sed 's/;/; /g'
}

compare() { # way; 0 as it should be, 1 not
    local way="$1" name sum expected status=0 same_source=false
    ! grep -qxF "source_sha256 = \"$(source_sha256)\"" "$RECORD" 2>/dev/null || same_source=true
    for name in "${CONTRACTS[@]}"; do
        sum="$(sha "$(built "$way" "$name")")"
        say "$name.wasm: $sum, $(stat -c %s "$(built "$way" "$name")") bytes, $(compiler "$way") ($way)"
        if ! (cd wasm && grep " $name.wasm\$" SHA256SUMS | sha256sum --check --status) 2>/dev/null; then
            say "  BROKEN: wasm/$name.wasm is not the file of wasm/SHA256SUMS"
            status=1
        elif [ "$sum" = "$(sha "wasm/$name.wasm")" ]; then
            say "  matches the committed wasm/$name.wasm"
        else
            expected="$(recorded_sum "$name" "$(compiler "$way")" "$way")"
            if [ -n "$expected" ] && [ "$sum" = "$expected" ]; then
                say "  matches what this compiler gave when wasm/$name.wasm was committed"
                say "  (the committed bytes are another compiler's: see $RECORD)"
            elif [ -n "$expected" ] || ! $same_source; then
                say "  DIFFERS from the committed wasm/$name.wasm: the sources have changed."
                say "  contracts/build.sh --update replaces it."
                status=1
            else
                say "  differs from the committed wasm/$name.wasm, as another compiler's may: its"
                say "  sources are the same, but it was built and recorded with"
                say "  $(committed_compilers)."
            fi
        fi
    done
    return "$status"
}

# --- the command ---------------------------------------------------------------

way='' update=false
while [ $# -gt 0 ]; do
    case "$1" in
    --with) way="${2:-}" && shift ;;
    --update) update=true ;;
    --help | -h) usage && exit 0 ;;
    *) usage >&2 && exit 64 ;;
    esac
    shift
done

ways=()
case "$way" in
'') for each in rustup debian; do ! "can_$each" || ways+=("$each"); done ;;
rustup | debian) ! "can_$way" || ways+=("$way") ;;
*) usage >&2 && exit 64 ;;
esac
if [ ${#ways[@]} -eq 0 ]; then
    how_to_get
    exit 2
fi
$update || ways=("${ways[0]}")

for each in "${ways[@]}"; do build "$each"; done

if $update; then
    mkdir -p wasm
    for name in "${CONTRACTS[@]}"; do cp "$(built "${ways[0]}" "$name")" "wasm/$name.wasm"; done
    chmod 644 wasm/*.wasm
    (cd wasm && sha256sum -- *.wasm) >"$SUMS"
    record "${ways[@]}"
    say "replaced wasm/, $SUMS and $RECORD"
fi
for each in "${ways[@]}"; do compare "$each"; done
