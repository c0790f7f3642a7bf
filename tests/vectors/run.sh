#!/bin/sh
# Checks the vectors with Python, in the environment that tests/venv.sh makes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python="$here/../../target/venv/bin/python"
sh "$here/../venv.sh"
[ -x "$python" ] || exit 0
PYTHONDONTWRITEBYTECODE=1 exec "$python" "$here/check.py" "$@"
