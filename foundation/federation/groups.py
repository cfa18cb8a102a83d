"""Parameter groups: the units of a model that are averaged, counted and kept at home as a whole."""

from collections.abc import Iterable

SPREADS = ("running_var", "variance")  # end the names of statistics that are never below zero


def group_of(parameter: str) -> str:
    """The parameter group of a name in a module's state, by convention.

    A modality's encoder is that modality; its own embedding and norm inside fusion are trained by that modality alone,
    so they belong to it. An objective is a group by itself. Anything else, such as `head`, is the first word of its
    name. Which names a run federates at all is not decided here: `Screening` holds an update against them.
    """
    match parameter.split("."):
        case ["encoder", "modalities", modality, *_]:
            return modality
        case ["encoder", "fusion", "kind" | "norm", modality, *_]:
            return modality
        case ["encoder", "fusion", *_]:
            return "fusion"
        case ["objectives", objective, *_]:
            return f"objective:{objective}"
        case [first, *_] if first:
            return first
    raise ValueError(f"{parameter!r}: belongs to no parameter group")


def groups_of(names: Iterable[str]) -> list[str]:
    """Parameter groups of some parameters."""
    return sorted({group_of(name) for name in names})
