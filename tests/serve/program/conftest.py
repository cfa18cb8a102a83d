"""Programs are traced without checks of shapes."""

from collections.abc import Iterator

import jaxtyping
import pytest


@pytest.fixture(scope="module", autouse=True)
def without_shape_checks() -> Iterator[None]:
    """While a program is traced sizes are symbols, which annotations of shapes cannot hold against one another."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
