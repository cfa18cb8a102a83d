#!/usr/bin/env bash
# Federated pretraining on one machine, a process a hospital: to choose settings before hospitals are asked for rounds.
# Launched again, it goes on after the last finished round.
#   bash scripts/launch/federated_simulation.sh experiment=demo
#   bash scripts/launch/federated_simulation.sh experiment=glioma strategy=fedadam compression=int8 output=runs/glioma/fedadam
# Settings are Hydra's and win over those below (python -m pretrain.federated --help lists them).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="${VENV:-$PWD/.venv}/bin:$PATH" FLWR_TELEMETRY_ENABLED=0

output=runs/federated/simulation
for setting in "$@"; do [[ $setting != output=* ]] || output=${setting#output=}; done
resume=false
[[ ! -e $output/history.json ]] || resume=true

# rounds × steps_per_round is the length of the run: its learning rate follows one schedule over all of it. With GPUs,
# federation.gpus_per_site=0.5 lets two hospitals share one.
python -m pretrain.federated federation=simulation rounds=8 steps_per_round=16 \
  output="$output" resume=$resume "$@"
echo "beside other runs: python -m foundation.federation.report run=$output others=[...]"
