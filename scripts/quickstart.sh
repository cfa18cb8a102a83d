#!/usr/bin/env bash
# The whole path on the embedded synthetic cohort: hospitals' folders to a served, documented model.
# Results lie under OUT (default runs/quickstart); the endpoint listens on loopback at PORT (default: a free port).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
export FLWR_TELEMETRY_ENABLED=0 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
out=${OUT:-runs/quickstart}
python=.venv/bin/python
port=${PORT:-$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}
started=$SECONDS
step() { printf '\n[%3d s] %s\n' $((SECONDS - started)) "$1"; }

step "Four synthetic hospitals are written, checked and packed"
"$python" -m foundation.data prepare cohort=demo overwrite=true output="$out/cohort"

step "Federated pretraining: three hospitals train, the fourth is held out"
"$python" -m pretrain.federated overwrite=true experiment=demo data.folder="$out/cohort" output="$out/pretrain"

step "A biomarker head is fine-tuned, then evaluated on the hospital held out"
"$python" -m finetune overwrite=true task=biomarker pretrained="$out/pretrain" data.folder="$out/cohort" \
    output="$out/biomarker"
"$python" -m finetune.evaluate overwrite=true run="$out/biomarker" output="$out/evaluation"

step "The model card is written from the run records"
"$python" -m serve.card overwrite=true evaluation="$out/evaluation" output="$out/card"

step "Export with its card, TorchServe on 127.0.0.1:$port, one request"
"$python" -m serve.export overwrite=true run="$out/biomarker" card="$out/card" output="$out/export"
trap '"$python" -m serve action=stop output="$out/serve"' EXIT
"$python" -m serve host=torchserve bundle="$out/export" output="$out/serve" port="$port" wait=false
"$python" -m serve.predict "$out/export/patient.json" server="$out/serve" output="$out/response"

step "The card is written again, with the bundle, and held to its records"
"$python" -m serve.card overwrite=true evaluation="$out/evaluation" export="$out/export" output="$out/card"
"$python" -m serve.card check "$out/card"

step "Done"
cat <<END
  encoder      $out/pretrain/encoder
  rounds       $out/pretrain/history.json
  task model   $out/biomarker
  evaluation   $out/evaluation/evaluation.md, evaluation.png
  bundle       $out/export/bundle and the .mar beside it
  answer       $out/response/response.json
  model card   $out/card/README.md, card.html
Serve it again:  .venv/bin/python -m serve bundle=$out/export output=$out/serve
END
