#!/usr/bin/env bash
# Debian's packages that tests drive: a browser and ShellCheck; with SLOW=1 Slurm and Orthanc, too. Without them those
# tests skip, each with what it lacks, so that a machine where nobody may install runs the others.
set -euo pipefail
needs=(chromium:chromium shellcheck:shellcheck)
[ -z "${SLOW:-}" ] || needs+=(sbatch:slurm-wlm Orthanc:orthanc)
missing=()
for need in "${needs[@]}"; do
  command -v "${need%%:*}" > /dev/null || missing+=("${need##*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
[[ " ${missing[*]} " != *" orthanc "* ]] || missing+=(orthanc-dicomweb)
[[ " ${missing[*]} " != *" slurm-wlm "* ]] || missing+=(munge)
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "warning: tests that need ${missing[*]} will skip; as root: apt-get install ${missing[*]}" >&2
  exit 0
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update && apt-get -qq install -y --no-install-recommends "${missing[@]}" > /dev/null ||
  echo "warning: apt-get could not install ${missing[*]}: tests that need them will skip" >&2
