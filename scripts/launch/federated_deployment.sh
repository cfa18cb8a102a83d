#!/usr/bin/env bash
# Federated pretraining as hospitals run it, TLS, keys and policies included, with all of them on this machine: the
# rehearsal of a real federation. Launched again, it goes on after the last finished round.
#   bash scripts/launch/federated_deployment.sh experiment=demo
#   SITES=riverside,lakeview DATA=data/demo FEDERATION=federation bash scripts/launch/federated_deployment.sh rounds=2
# In the field each step has a place of its own: `provision` with address= on the server's machine; start.sh of
# FEDERATION/server there, and of FEDERATION/sites/NAME at each hospital, which was handed that folder and keeps its own
# policy.yaml; the run again on the server's machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export VENV=${VENV:-$PWD/.venv} FLWR_TELEMETRY_ENABLED=0
export PATH="$VENV/bin:$PATH"

federation=${FEDERATION:-federation}
sites=${SITES:-riverside,northgate,lakeview,summit}
output=runs/federated/deployment
for setting in "$@"; do [[ $setting != output=* ]] || output=${setting#output=}; done
resume=false
[[ ! -e $output/history.json ]] || resume=true

# 1. Keys, certificates, settings and policies.
[[ -d $federation/server ]] ||
  python -m foundation.federation.deployment.provision "sites=[$sites]" data="${DATA:-data/demo}" output="$federation"

# 2. The SuperLink and a node a site, until this script ends; should one of them end before, start.sh says why.
bash scripts/federation/start.sh "$federation" &
trap 'kill $! 2> /dev/null || true; wait' EXIT
nodes() { python -m foundation.federation.deployment.superlink server="$federation/server" action=nodes 2>&1; }
until [[ $(nodes | grep -cw online) -ge $(tr , '\n' <<< "$sites" | wc -l) ]]; do
  kill -0 $! 2> /dev/null # fails, and ends this script, once start.sh has ended
  sleep 1
done

# 3. The run: hospitals train, the server averages, and the encoder is written here. A hospital's owner reads what a run
#    asks before the first patient is: here, in all their places, this script approves what waits and asks again.
launch() {
  python -m pretrain.federated federation=deployment federation.server="$federation/server" "sites=[$sites]" \
    output="$output" resume=$resume "$@"
}
wait_for() { python -m foundation.federation.plans site="$1/site.yaml" action="$2" plan=all; }
launch "$@" || {
  [[ ! -e $output/history.json ]] || exit 1
  for site in "$federation"/sites/*/; do wait_for "$site" approve; done
  launch "$@"
}

# 4. What the server's ledger says was sent and received is what the hospitals' say.
python -m foundation.federation.ledger reconcile \
  "ledgers=[$output/ledger.jsonl$(printf ',%s' "$federation"/sites/*/ledger.jsonl)]"
