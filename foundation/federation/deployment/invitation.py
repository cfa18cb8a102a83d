"""The invitation to a federation: a public folder of its address, of who vouches for it, and of its data dictionary."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from foundation.data.dictionary import FILE, dictionary_digest, read_dictionary
from foundation.documents import read_yaml
from foundation.errors import UserError
from foundation.files import PUBLIC, write_text

CERTIFICATE = "ca.pem"
_SETTINGS = "federation.yaml"
_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]|[0-9A-Fa-f:]+):[0-9]{1,5}")  # it stands in start.sh


@dataclass(frozen=True)
class Invitation:
    """What a hospital needs to join.

    Attributes:
        folder: of it.
        superlink: host:port.
        dictionary: that all hospitals prepare against; empty where the federation has not agreed on one.
        digest: of the dictionary.
    """

    folder: Path
    superlink: str
    dictionary: dict[str, Any] = field(default_factory=dict)
    digest: str = ""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads the folder.

        Raises:
            UserError: if it is none.
        """
        advice = "give the invitation folder that provision wrote and the operator handed on"
        content = read_yaml(folder / _SETTINGS, advice)
        if not isinstance(content, dict) or not isinstance(content.get("superlink"), str):
            raise UserError(f"{folder / _SETTINGS}: superlink: missing; {advice}")
        if not _ADDRESS.fullmatch(content["superlink"]):
            raise UserError(f"{folder / _SETTINGS}: superlink: no host:port; {advice}")
        if not (folder / CERTIFICATE).is_file():
            raise UserError(f"{folder / CERTIFICATE}: missing; {advice}")
        if not (folder / FILE).is_file():
            return cls(folder, content["superlink"])
        dictionary = read_dictionary(folder).model_dump(mode="json")
        return cls(folder, content["superlink"], dictionary, dictionary_digest(folder))


def write_invitation(folder: Path, certificate: Path, superlink: str, dictionary: Path | None) -> None:
    """Writes the folder: nothing in it is secret.

    Args:
        folder: to write.
        certificate: of the authority.
        superlink: host:port under which sites reach it.
        dictionary: folder with a `cohort.json`, of which the dictionary alone is taken; none if None.

    Raises:
        UserError: if that holds no dictionary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / _SETTINGS, yaml.safe_dump({"superlink": superlink}), PUBLIC)
    shutil.copyfile(certificate, folder / CERTIFICATE)
    if dictionary is not None:
        read_dictionary(dictionary)
        shutil.copyfile(dictionary / FILE, folder / FILE)
