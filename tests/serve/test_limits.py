"""Limits of hosts and clients: a number that none could be held to is refused before anything starts."""

import inspect
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from serve.asgi import launch
from serve.conversation import Conversation, Retries
from serve.schema import BundleSchema
from serve.torchserve import server as torchserve

NUMBERS = (int, float)


@pytest.fixture
def schema() -> BundleSchema:
    return BundleSchema.model_construct(name="m", version="1")


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "30", True, None])
@pytest.mark.parametrize("host", [launch, torchserve], ids=["asgi", "torchserve"])
def test_a_host_refuses_a_limit_that_is_no_number_above_zero(host: Any, value: Any, tmp_path: Path, schema) -> None:
    limits = [name for name, one in inspect.signature(host.start).parameters.items() if type(one.default) in NUMBERS]
    assert len(limits) >= 7
    for name in limits:
        if name in ("batch_delay_ms", "spare") and value == 0:
            continue  # a request waits for no other; no worker stands by
        with pytest.raises(UserError, match=rf"^{name}: found {value}; give (0 or )?more"):
            host.start(tmp_path / "bundle", schema, tmp_path / "output", 8080, **{name: value})
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "60"])
def test_a_client_refuses_seconds_that_are_no_time(value: Any) -> None:
    with pytest.raises(UserError, match=rf"^seconds: found {value}; give more than 0"):
        Conversation("http://127.0.0.1:8080", "token", value)


@pytest.mark.parametrize("name", ["pause_seconds", "longest_seconds"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1"])
def test_retries_refuse_pauses_that_are_no_time(name: str, value: Any) -> None:
    assert getattr(Retries(**{name: 0}), name) == 0
    with pytest.raises(UserError, match=rf"^{name}: found {value}; give 0 or more"):
        Retries(**{name: value})
