#!/usr/bin/env bash
# Seconds of the quickstart from an installed .venv, in a fresh output folder. Prints the figure last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bash scripts/setup.sh
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
started=$SECONDS
OUT="$out/run" bash scripts/quickstart.sh
echo "quickstart: $((SECONDS - started)) s (bar: under 300 s on two cores)"
