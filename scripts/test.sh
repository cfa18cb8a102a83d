#!/usr/bin/env bash
# Sets up what is missing, then lint, types and tests, three files at a time, for tests wait for processes that start;
# with SLOW=1 the slow ones, too. Arguments go to pytest: -n 0 runs one file after another.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
bash scripts/setup_system.sh
export FLWR_TELEMETRY_ENABLED=0 HF_HUB_OFFLINE=1 DS_ACCELERATOR=${DS_ACCELERATOR:-cpu} TOKENIZERS_PARALLELISM=false
unset PYTHONDONTWRITEBYTECODE   # each of hundreds of processes would compile the same files anew
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}   # three files at a time on two cores: more threads wait for each other
# DeepSpeed compiles sums over processes once, and again where another ninja is first; without a compiler, tests say so.
build='from deepspeed.comm.torch import build_shm_op as build; from foundation.engine import extension_locks as locks
with locks.watched_locks(): build()'   # a build that was killed left a lock, for which the next would wait for ever
PATH=$PATH:$PWD/.venv/bin .venv/bin/python -c "$build" &> /dev/null &
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
wait
which=(-m "not slow")
[ -z "${SLOW:-}" ] || which=()
.venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder "${which[@]}" "$@"
