"""Error feedback: what compression lost of a site's updates, kept between rounds in its state folder."""

import re
from pathlib import Path

from foundation.arrays import write_arrays
from foundation.federation.weights.lazy import LazySafetensors
from foundation.federation.weights.types import Arrays, Weights
from foundation.run_record import digest_of

_NAME = re.compile(r"round_(\d+)\.safetensors")


class ErrorFeedback:
    """The residuals of one run at one site.

    A round that is repeated, because the server never got its update, must not add its own loss a second time: it
    starts from the residual of the round before, which is why two are kept.

    Args:
        state: the site's state folder.
        run: name or digest of the run; a residual of another run is none of this one's.
    """

    def __init__(self, state: Path, run: str) -> None:
        self.folder = state / "residuals" / digest_of(run)[:16]

    def before(self, number: int) -> Weights:
        """By parameter, what was lost up to the round before `number`; empty if nothing was."""
        earlier = [kept for kept in self._rounds() if kept < number]
        return dict(LazySafetensors(self._path(max(earlier)))) if earlier else {}

    def save(self, number: int, residual: Arrays) -> None:
        """Keeps a round's residual and that of the round before, and forgets all others."""
        if residual:
            write_arrays(self._path(number), residual)
        keep = {number, max((kept for kept in self._rounds() if kept < number), default=number)}
        for kept in self._rounds():
            if kept not in keep:
                self._path(kept).unlink()

    def _rounds(self) -> list[int]:
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob("*.safetensors"))
        return [int(name.group(1)) for name in names if name]

    def _path(self, number: int) -> Path:
        return self.folder / f"round_{number:04d}.safetensors"
