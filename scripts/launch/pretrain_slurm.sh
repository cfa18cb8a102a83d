#!/usr/bin/env bash
# Pretraining on many nodes under Slurm, a seed an array task. A job that is preempted, or whose time is up, saves, waits
# in the queue again and goes on where it stopped: its weights are those of a run that nobody interrupted.
#   sbatch --nodes=4 --array=0-4 scripts/launch/pretrain_slurm.sh experiment=glioma trainer=deepspeed_zero3 \
#     output=runs/glioma/nodes                                   # → runs/glioma/nodes/seed_0 to seed_4
# Submit from the repository, once set-up and `prepare` have run. sbatch's options stand before the script and win over
# those below, Hydra's settings after it; a setting with a comma in quotes, as the shell wants it.
#SBATCH --job-name=pretrain
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --array=0
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x_%A_%a.log
set -euo pipefail
export PATH="${VENV:-$PWD/.venv}/bin:$PATH"

output=runs/pretrain/slurm
for setting in "$@"; do [[ $setting != output=* ]] || output=${setting#output=}; done
output=$output/seed_$SLURM_ARRAY_TASK_ID
last=$output/checkpoints/last.ckpt
resume=false
[[ ! -e $last ]] || resume=true
newest() { [[ ! -e $last ]] || find -L "$last" -printf '%T@\n' | sort -n | tail -n 1; } # DeepSpeed's is a folder
reached=$(newest)
echo "job $SLURM_JOB_ID, start ${SLURM_RESTART_COUNT:-0}, on $SLURM_JOB_NODELIST: $output, resume=$resume"

# Slurm sends USR1 to this shell alone when time is nearly up, TERM to all when it ends the job: processes finish their
# step, save, and end. (Lightning's own requeueing, on USR1 to the processes, would save in the middle of an exchange.)
ended_by_slurm=false
trap 'scancel --signal=TERM "$SLURM_JOB_ID"' USR1
trap 'ended_by_slurm=true' TERM

# srun starts every process itself, rather than a torchrun a node: a SIGTERM of Slurm then reaches each of them once,
# and nothing kills them while they save. Lightning reads their ranks from Slurm; MASTER_PORT follows from the job's id.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR
# --kill-on-bad-exit: where one process dies, the others would wait for it. srun does not take over --cpus-per-task.
srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
  python -m pretrain trainer=ddp trainer.devices="$SLURM_NTASKS_PER_NODE" trainer.num_nodes="$SLURM_JOB_NUM_NODES" \
  seed="$SLURM_ARRAY_TASK_ID" "$@" output="$output" resume=$resume &

while kill -0 $! 2> /dev/null; do wait $! || true; done # a trap ends one `wait`
status=0
wait $! || status=$?
# A preemption with a grace period tells the processes, not this shell. So whatever ended the run, it is queued again as
# long as it gets further; where it does not, nor will it. What Slurm ends, Slurm queues again, unless it was scancel.
if [[ $status != 0 && $ended_by_slurm = false && $(newest) != "$reached" ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
