"""`python -m foundation.federation.deployment.provision`: keys, certificates, a folder for the server and each site."""

import secrets
import shutil
from importlib.resources import files
from pathlib import Path
from string import Template

import yaml
from omegaconf import DictConfig

from foundation.command import command
from foundation.errors import UserError
from foundation.federation.deployment.invitation import write_invitation
from foundation.federation.deployment.pki import (
    write_authority,
    write_certificate,
    write_node_key,
)
from foundation.files import PROGRAM, PUBLIC, SECRET, write_bytes, write_text
from foundation.ports import read_port

_LOCAL = ("localhost", "127.0.0.1")
_SITE_START = Template("""#!/usr/bin/env bash
# Starts this hospital's node next to its data; Ctrl-C stops it. The project must be installed here: activate its
# environment first, or set VENV to it. SUPERLINK and PORT (on loopback) may be set, too.
set -euo pipefail
cd "$$(dirname "$${BASH_SOURCE[0]}")"
[ -z "$${VENV:-}" ] || PATH="$$VENV/bin:$$PATH"
exec python -m foundation.federation.deployment.supernode site=site.yaml certificate=ca.pem key=node.key \\
  secret=runtime.secret \\
  superlink="$${SUPERLINK:-$address}" port="$${PORT:-$port}" "$$@"
""")
_SERVER_START = """#!/usr/bin/env bash
# Starts the SuperLink, and admits the keys in nodes/; Ctrl-C stops it. The project must be installed here: activate
# its environment first, or set VENV to it. Sites reach it from other machines; commands are taken from this one alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
[ -z "${VENV:-}" ] || PATH="$VENV/bin:$PATH"
# Blocks of a MiB and more go back to the system when they are freed: weights pass through, and threads would keep them.
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-1048576}
exec python -m foundation.federation.deployment.superlink server=. "$@"
"""


@command("provision")
def main(cfg: DictConfig) -> None:
    """Writes what is missing; keys that exist are kept, so a site can be added later."""
    sites = [str(name) for name in cfg.sites or []]
    check_names(sites)
    port, site_port = read_port(cfg.port), read_port(cfg.site_port, "site_port")
    folder = Path(cfg.output)
    if cfg.renew or not (folder / "ca" / "ca.key").is_file():
        write_authority(folder / "ca", folder.resolve().name, cfg.days)
    server = folder / "server"
    write_server(server, folder / "ca", str(cfg.address), port, [str(host) for host in cfg.hosts], cfg.days)
    dictionary = None if cfg.dictionary is None else Path(cfg.dictionary)
    write_invitation(folder / "invitation", folder / "ca" / "ca.pem", f"{cfg.address}:{port}", dictionary)
    if cfg.renew:
        print(f"{folder / 'ca' / 'ca.pem'}: let each site take it before the SuperLink starts with its new certificate")
    print(f"{folder / 'invitation'}: hand it to hospitals that make their own keys (consilium federation join)")
    for name in sites:
        home = folder / "sites" / name
        if (home / "node.key").is_file():
            print(f"{home}: kept")
            continue
        data = None if cfg.data is None else str(Path(cfg.data).resolve())
        local = site_port + len(list((server / "nodes").glob("*.pub")))
        public = write_site(home, folder / "ca", name, data, f"{cfg.address}:{port}", local)
        write_bytes(server / "nodes" / f"{name}.pub", public, PUBLIC)
        print(f"{home}: hand it to {name} over a safe channel; its node.key is nobody else's")
    print(f"{server}: for the SuperLink's machine; bash {server / 'start.sh'}")
    print(f"{folder / 'ca'}: keep ca.key offline; whoever has it can pose as the SuperLink")


def check_names(sites: list[str]) -> None:
    """Raises a UserError on names that are twice there, or no names of folders."""
    for name in sites:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise UserError(f"sites: '{name}' is no name of a folder; use letters, digits, - and _")
        if sites.count(name) > 1:
            raise UserError(f"sites: '{name}' is given twice; name each hospital once")


def write_server(server: Path, authority: Path, address: str, port: int, hosts: list[str], days: int) -> None:
    """The SuperLink's folder: a fresh certificate, where to listen, the keys of the sites, a start script.

    Args:
        server: folder.
        authority: see `write_certificate`.
        address: host name or IP address under which sites reach the SuperLink.
        port: that it listens on.
        hosts: further names for the certificate.
        days: that the certificate holds.
    """
    (server / "nodes").mkdir(parents=True, exist_ok=True)
    write_certificate(authority, server, list(dict.fromkeys([address, *hosts, *_LOCAL])), days)
    shutil.copyfile(authority / "ca.pem", server / "ca.pem")
    listen = "127.0.0.1" if address in _LOCAL else "0.0.0.0"
    write_text(server / "server.yaml", yaml.safe_dump({"listen": listen, "port": port}, sort_keys=False), PUBLIC)
    write_text(server / "start.sh", _SERVER_START, PROGRAM)


def write_site(home: Path, authority: Path, name: str, data: str | None, superlink: str, port: int) -> bytes:
    """A hospital's folder; gives the public line of its key.

    Args:
        home: folder.
        authority: whose certificate vouches for the SuperLink.
        name: of the hospital.
        data: its prepared cohort; to be filled in by the hospital if None.
        superlink: host:port.
        port: on loopback, for the node's own processes.
    """
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(authority / "ca.pem", home / "ca.pem")
    site = {
        "name": name,
        "data": data or "data",
        "policy": "policy.yaml",
        "ledger": "ledger.jsonl",
        "state": "state",
        "key": "node.key",
        "trainer": {},
    }
    write_text(home / "site.yaml", yaml.safe_dump(site, sort_keys=False), PUBLIC)
    write_bytes(home / "policy.yaml", (files("foundation.federation.policy") / "template.yaml").read_bytes(), PUBLIC)
    script = _SITE_START.substitute(address=superlink, port=port)
    write_text(home / "start.sh", script, PROGRAM)
    write_text(home / "runtime.secret", secrets.token_hex(32), SECRET)
    return write_node_key(home / "node.key", name)


if __name__ == "__main__":
    main()
