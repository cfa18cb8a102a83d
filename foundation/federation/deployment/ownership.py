"""Whose folder a SuperLink or a node works in: a container's user is seldom the one that the keys were made for."""

import os
from pathlib import Path

from foundation.errors import UserError


def check_owner(folder: Path, *keys: Path) -> None:
    """Refuses to start as a user who cannot write the folder, or cannot read a key that lies there.

    Raises:
        UserError: with the user who can.
    """
    unreadable = next((key for key in keys if key.is_file() and not os.access(key, os.R_OK)), None)
    if unreadable is None and os.access(folder, os.W_OK | os.X_OK):
        return
    owner, what = folder.stat(), f"{folder}: cannot be written" if unreadable is None else f"{unreadable}: not readable"
    raise UserError(
        f"{what} by user {os.getuid()}; start it as the folder's owner, {owner.st_uid} (of a container: "
        f"--user {owner.st_uid}:{owner.st_gid}, or podman's --userns=keep-id:uid={os.getuid()},gid={os.getgid()})"
    )
