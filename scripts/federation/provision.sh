#!/usr/bin/env bash
# Keys, certificates and settings of a federation, in one command: a folder for the SuperLink, one to hand to each site.
#   bash scripts/federation/provision.sh sites=[riverside,northgate] address=superlink.example.org output=federation
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bash "$root/scripts/setup.sh"
exec "$root/.venv/bin/python" -m foundation.federation.deployment.provision "$@"
