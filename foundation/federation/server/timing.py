"""The timer of a round's phases."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime


class PhaseTimer:
    """Seconds by part of a round, from when it is made.

    Attributes:
        started: in UTC, as ISO text.
    """

    def __init__(self) -> None:
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self._begun = time.monotonic()
        self._parts: dict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Counts what happens inside to a part."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self._parts[part] += time.monotonic() - begun

    def seconds(self) -> dict[str, float]:
        """By part, and in all until now."""
        parts = {name: round(value, 3) for name, value in self._parts.items()}
        return {**parts, "total": round(time.monotonic() - self._begun, 3)}
