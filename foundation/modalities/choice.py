"""Modalities that a setting chooses."""

from collections.abc import Collection, Iterable

from foundation.errors import UserError


def chosen(setting: str, names: Iterable[object], known: Collection[str]) -> list[str]:
    """Those that a list names, in its order.

    Args:
        setting: that holds the list, for messages.
        names: the list.
        known: modalities of the encoder.

    Raises:
        UserError: if it names none, one twice, or one that the encoder lacks.
    """
    listed = [str(name) for name in names]
    if not listed:
        raise UserError(f"{setting}: found []; name some of {', '.join(known)}, or null for all")
    for place, name in enumerate(listed):
        if name not in known:
            raise UserError(f"{setting}: the encoder has no '{name}'; it has {', '.join(known)}")
        if name in listed[:place]:
            raise UserError(f"{setting}: names '{name}' twice; name each modality once")
    return listed
