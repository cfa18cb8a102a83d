#!/usr/bin/env bash
# A provisioned federation on one machine, to try it out: the SuperLink and a node a site, until Ctrl-C or until one
# ends. In the field, each machine runs the start.sh of its own folder.
#   bash scripts/federation/start.sh federation
set -euo pipefail
folder=$(cd "${1:?give the folder that provision.sh wrote}" && pwd)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export VENV=${VENV:-$root/.venv}
processes=()
trap 'kill "${processes[@]}" 2>/dev/null; wait' EXIT
trap 'exit 0' INT TERM
for home in "$folder/server" "$folder"/sites/*; do
  bash "$home/start.sh" > "$home/log.txt" 2>&1 &
  processes+=($!)
  echo "$home/log.txt"
done
wait -n || true
echo "error: one process ended; the last lines of its log say why" >&2
tail -n 2 "$folder"/server/log.txt "$folder"/sites/*/log.txt >&2
exit 1
