#!/bin/sh
# Makes sure that the programs which the demo and the whole-program tests drive are there.
# As root they are installed from Debian's packages; otherwise the one command to run is printed.
set -eu

missing=""
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] || missing="$missing $2"
}
need cargo "rust-toolchain-from-rustup"
need cc gcc
need ip iproute2
need unshare util-linux
need openssl openssl
need prosody prosody
[ -d /usr/lib/prosody/modules/mod_privilege ] || [ -f /usr/lib/prosody/modules/mod_privilege.lua ] ||
    missing="$missing prosody-modules"
# ejabberd is run by the tests as a node of its own, never as the system's service.
[ -x /usr/sbin/ejabberdctl ] && command -v erl >/dev/null 2>&1 || missing="$missing ejabberd"
ls -d /usr/lib/erlang/lib/p1_sqlite3-* >/dev/null 2>&1 || missing="$missing erlang-p1-sqlite3"
# Python checks the test vectors and speaks XMPP as an independent client; without it they are skipped, loudly. It is installed where that takes no question.
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || missing="$missing python3 python3-venv"
fi

case "$missing" in
"") exit 0 ;;
*rust-toolchain-from-rustup*)
    echo "setup: no cargo found. Install a Rust toolchain first (https://rustup.rs), then run make again." >&2
    exit 1
    ;;
esac

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: missing:$missing" >&2
    echo "setup: run this once, then make again:  sudo apt-get update && sudo apt-get install -y$missing" >&2
    exit 1
fi

echo "setup: installing$missing"
# Debian starts a server when its package is installed. Ours is started by the tests, with its own configuration:
# policy-rc.d answers "do not start" for as long as the installation takes.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
# shellcheck disable=SC2086 # a list of packages
apt-get install -y -q --no-install-recommends $missing >/dev/null
