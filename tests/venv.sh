#!/bin/sh
# Makes target/venv from tests/vectors/requirements.txt, once; after that no network is needed. What speaks our formats
# and XMPP independently of our own code runs in it: tests/vectors, bundle/tests/foreign, tests/bridge.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv="$here/../target/venv"
stamp="$venv/requirements.txt"

if ! command -v python3 >/dev/null 2>&1; then
    if [ -n "${CI:-}" ]; then
        echo "venv: python3 is missing, and CI must not do without it. Install python3 and python3-venv." >&2
        exit 1
    fi
    echo "SKIPPED: target/venv: NOTHING INDEPENDENT WILL CHECK US. Install python3 and python3-venv, then run make again." >&2
    exit 0
fi
cmp -s "$here/vectors/requirements.txt" "$stamp" && exit 0
rm -rf "$venv"
mkdir -p "$(dirname "$venv")"
if ! python3 -m venv "$venv" ||
    ! "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/vectors/requirements.txt"; then
    echo "venv: cannot make target/venv: python3-venv must be installed, and pip needs the network this once." >&2
    exit 1
fi
cp "$here/vectors/requirements.txt" "$stamp"
