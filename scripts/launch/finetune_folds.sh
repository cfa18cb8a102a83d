#!/usr/bin/env bash
# A head over folds: every patient is tested once, by an encoder and a head that never saw them; then a table of all
# folds. Launched again, it leaves finished folds alone and goes on where it stopped.
#   PRETRAIN=experiment=demo bash scripts/launch/finetune_folds.sh task=biomarker output=runs/demo/folds
#   FOLDS=10 PRETRAIN="experiment=glioma trainer=gpu" bash scripts/launch/finetune_folds.sh task=idh cohort=tcga_glioma \
#     data.stratify=idh trainer=gpu output=runs/glioma/idh
# Settings are Hydra's: those here go to finetune, those in PRETRAIN to pretraining, which each fold has of its own, for
# an encoder that saw a fold's patients cannot be tested on them; cohort and data go to both. An encoder that comes from
# elsewhere, pretrained=FOLDER, serves all folds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="${VENV:-$PWD/.venv}/bin:$PATH"

folds=${FOLDS:-5}
read -ra pretrain <<< "${PRETRAIN:-}"
output=runs/finetune/folds pretrained='' shared=()
for setting in "$@"; do
  case $setting in
    output=*) output=${setting#output=} ;;
    pretrained=*) pretrained=${setting#pretrained=} ;;
    cohort* | data.*) shared+=("$setting") ;;
  esac
done

# A command into a folder: finished already, gone on with, or begun.
run() {
  local folder=$1 resume=false
  ! grep -qs '"status": "finished"' "$folder/run.json" || return 0
  [[ ! -e $folder/checkpoints/last.ckpt ]] || resume=true
  python -m "${@:2}" output="$folder" resume=$resume
}

# What is finished there was made with the same settings, or is another table.
mkdir -p "$output"
settings="FOLDS=$folds PRETRAIN=${pretrain[*]} $*"
[[ -e $output/settings.txt ]] || echo "$settings" > "$output/settings.txt"
if [[ $(< "$output/settings.txt") != "$settings" ]]; then
  echo "error: $output/settings.txt: begun as '$(< "$output/settings.txt")'; set output= anew" >&2
  exit 2
fi

for ((fold = 0; fold < folds; fold++)); do
  folder=$output/fold_$fold
  split=(data.test_hospitals=[] data.folds="$folds" data.fold="$fold")
  encoder=$pretrained
  if [[ -z $encoder ]]; then
    encoder=$folder/pretrain
    run "$encoder" pretrain "${pretrain[@]}" "${shared[@]}" "${split[@]}"
  fi
  run "$folder/finetune" finetune "$@" pretrained="$encoder" "${split[@]}"
  [[ -e $folder/evaluation/evaluation.json ]] ||
    python -m finetune.evaluate run="$folder/finetune" output="$folder/evaluation"
done
python scripts/launch/folds_table.py "$output"
