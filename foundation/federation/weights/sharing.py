"""Partial rounds: which weights stay at a site, and whether those that nobody sends are the same on both sides."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from foundation.errors import UserError
from foundation.federation.weights.types import Weights


def is_local(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is one of those that never leave a site, by shell-style patterns of whole names."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def check_frozen(here: Mapping[str, str], expected: Mapping[str, str] | None) -> None:
    """Holds a site's frozen weights against the server's.

    Args:
        here: digests by group, as `module.frozen_digests` gives them.
        expected: the server's; None if it sent none.

    Raises:
        UserError: naming the first group that differs.
    """
    for group in sorted({*here, *(expected or here)}):
        theirs, ours = (expected or here).get(group, "none"), here.get(group, "none")
        if theirs != ours:
            raise UserError(
                f"modality.{group}: frozen weights here have digest {ours[:12]}, the run's {theirs[:12]}; they do not "
                f"travel, so give modality.{group}.weights the same file at every site, and one seed"
            )


def keep_local(state: Weights, local: Sequence[str] = ()) -> Weights:
    """Those of a state's arrays that stay at the site."""
    return {name: value for name, value in state.items() if is_local(name, local)}
