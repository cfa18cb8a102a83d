#!/usr/bin/env bash
# Pretraining on one GPU. Launched again after an interruption, it goes on where it stopped.
#   bash scripts/launch/pretrain_one_gpu.sh cohort=tcga_glioma experiment=glioma output=runs/glioma/base encoder=base
#   bash scripts/launch/pretrain_one_gpu.sh experiment=demo trainer=cpu              # to try it without a GPU
# Settings are Hydra's and win over those below (python -m pretrain --help lists them). VENV names an environment other
# than .venv. Prepare the cohort first: python -m foundation.data prepare cohort=...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="${VENV:-$PWD/.venv}/bin:$PATH"

output=runs/pretrain/one_gpu
for setting in "$@"; do [[ $setting != output=* ]] || output=${setting#output=}; done
resume=false
[[ ! -e $output/checkpoints/last.ckpt ]] || resume=true

# Four processes read and augment patients ahead of the step; ten checkpoints an hour are cheap beside an hour lost.
# Out of memory? encoder.patients_at_once=8 gives the same gradients in less. Faster? compile={}.
python -m pretrain trainer=gpu data.num_workers=4 data.pin_memory=true output="$output" resume=$resume "$@"
