#!/bin/sh
# Checks the vectors with Python. The virtual environment in target/venv is made once, from requirements.txt, and
# needs no network after that; bundle/tests/foreign uses it too, to meet pyD3TN.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv="$here/../../target/venv"
stamp="$venv/requirements.txt"

if ! command -v python3 >/dev/null 2>&1; then
    if [ -n "${CI:-}" ]; then
        echo "vectors: python3 is missing, and CI must not skip them. Install python3 and python3-venv." >&2
        exit 1
    fi
    echo "SKIPPED: tests/vectors/check.py: NO PYTHON CHECKED THE VECTORS. Install python3 and python3-venv, then run make test-vectors." >&2
    exit 0
fi

if ! cmp -s "$here/requirements.txt" "$stamp"; then
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    if ! python3 -m venv "$venv" ||
        ! "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"; then
        echo "vectors: cannot make target/venv: python3-venv must be installed, and pip needs the network this once." >&2
        exit 1
    fi
    cp "$here/requirements.txt" "$stamp"
fi

PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" "$here/check.py" "$@"
