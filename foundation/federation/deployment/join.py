"""`python -m foundation.federation.deployment.join`: a hospital's own folder and key, and its request."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from foundation.command import command
from foundation.data.dictionary import FILE, dictionary_digest, read_dictionary
from foundation.documents import read_yaml
from foundation.errors import UserError
from foundation.federation.deployment.invitation import Invitation
from foundation.federation.deployment.pki import write_node_key
from foundation.federation.deployment.provision import check_names, write_site
from foundation.federation.deployment.requests import write_request
from foundation.federation.ledger.seal import read_private
from foundation.ports import read_port

_KEY, _SETTINGS = "node.key", "site.yaml"


@command("join")
def main(cfg: DictConfig) -> None:
    """Makes the hospital's folder, once; with rotate=true a new key in it. What goes to the operator is the request."""
    if cfg.site is None:
        raise UserError("site: not given; say site=NAME with this hospital's name, as its cohort calls it")
    name, home = str(cfg.site), Path(cfg.output)
    check_names([name])
    invitation = Invitation.load(Path(cfg.invitation))
    data = None if cfg.data is None else Path(cfg.data).resolve()
    if data is not None:
        check_dictionary(data, invitation)
    exists = (home / _KEY).is_file()
    if exists and not cfg.rotate:
        raise UserError(f"{home}: has a key already; rotate=true makes another, or give output=")
    if (home / _SETTINGS).is_file():
        check_same_site(home, name)
    if exists:
        (home / _KEY).replace(home / f"{_KEY}.before")
    if not (home / _SETTINGS).is_file():
        where = None if data is None else str(data)
        write_site(home, invitation.folder, name, where, invitation.superlink, read_port(cfg.port))
    else:
        write_node_key(home / _KEY, name)
    mark = write_request(home / f"{name}.csr", read_private(home / _KEY), name)
    print(f"{home / f'{name}.csr'}: send it to the operator, and tell them by telephone: {mark}")
    print(f"{home / _KEY}: was made here and leaves this machine never")
    print(f"{home / 'policy.yaml'}: read it and change it; then bash {home / 'start.sh'} once you are admitted")


def check_same_site(home: Path, name: str) -> None:
    """Holds a folder to be of the hospital that a key is made for: under another name it would ask in vain.

    Raises:
        UserError: if it is of another one.
    """
    content = read_yaml(home / _SETTINGS, "restore it from a copy, or give output=")
    before = content.get("name") if isinstance(content, dict) else None
    if before != name:
        raise UserError(f"site: {home} is the folder of {before}, not of {name}; say site={before}, or give output=")


def check_dictionary(data: Path, invitation: Invitation) -> None:
    """Holds a prepared cohort to the federation's data dictionary, whatever other hospitals hold.

    Raises:
        UserError: naming the first field that is another.
    """
    if not invitation.dictionary or dictionary_digest(data) == invitation.digest:
        return
    here = read_dictionary(data).model_dump(mode="json")
    fields = [name for name, value in invitation.dictionary.items() if _plain(here.get(name)) != _plain(value)]
    raise UserError(
        f"{data / FILE}: its dictionary is not the federation's ({', '.join(fields) or 'other fields'} differ); take "
        f"these from {invitation.folder / FILE} into cohort.yaml, then python -m foundation.data prepare"
    )


def _plain(value: Any) -> Any:
    return value or None


if __name__ == "__main__":
    main()
