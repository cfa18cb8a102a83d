#!/usr/bin/env bash
# Pretraining on all GPUs of one machine, a process each, by torchrun. Launched again, it goes on where it stopped.
#   bash scripts/launch/pretrain_node.sh experiment=glioma trainer=deepspeed_zero2 output=runs/glioma/large encoder=large
#   PROCESSES=2 bash scripts/launch/pretrain_node.sh experiment=demo trainer.accelerator=cpu      # to try it without GPUs
# Settings are Hydra's and win over those below. trainer= says what is shared out: ddp nothing, deepspeed_zero1 the
# optimiser's state, _zero2 gradients, too, _zero3 weights, too; the fewer bytes a GPU holds, the more travel.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="${VENV:-$PWD/.venv}/bin:$PATH"

processes=${PROCESSES:-$(nvidia-smi --list-gpus | wc -l)}
output=runs/pretrain/node
for setting in "$@"; do [[ $setting != output=* ]] || output=${setting#output=}; done
resume=false
[[ ! -e $output/checkpoints/last.ckpt ]] || resume=true

# data.batch_size is a process's: all of them together see PROCESSES times as many patients a step, and compare pairs
# over all. On two machines and more, without Slurm, type this on each, with --nnodes=2 --rdzv_backend=c10d
# --rdzv_endpoint=first-machine:29500 for --standalone, and trainer.num_nodes=2.
torchrun --standalone --nproc_per_node="$processes" -m pretrain trainer=ddp trainer.devices="$processes" \
  output="$output" resume=$resume "$@"
