"""Flower as it is, put back after a test that patches it."""

import pytest
from flwr.supercore import sql_mixin
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink import main as superlink
from flwr.superlink.grid import http_grid
from flwr.supernode import fleet_http_connection, start_client_internal


def restore_flower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts Flower back when the test ends."""
    for module, name in (
        (start_client_internal, "time"),
        (start_client_internal, "_pull_and_store_message"),
        (start_client_internal, "_push_messages"),
        (fleet_http_connection, "make_simple_http_retry_invoker"),
        (inflatable_utils, "push_object_contents_from_iterable"),
        (http_grid, "inflate_object_from_contents"),
        (inflatable_utils, "inflate_object_from_contents"),
        (inflatable_utils.pull_objects, "__kwdefaults__"),
        (inflatable_utils.pull_and_inflate_object_from_tree, "__kwdefaults__"),
        (sql_mixin, "SQLITE_PRAGMAS"),
        (superlink, "create_app"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
