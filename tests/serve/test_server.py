"""Whether the process of a started server is still there."""

import os

import psutil
import pytest

from serve.server import Server


def server(program: str) -> Server:
    return Server("http://127.0.0.1:1/predictions/toy", "toy", "v1", "key_file.json", os.getpid(), program, "", "")


def test_a_process_of_another_program_is_not_the_server_s():
    assert server("serve.asgi.nobody").process() is None


def test_a_process_that_is_only_just_becoming_its_program_has_not_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(psutil.Process, "cmdline", lambda self: [])
    assert server("serve.asgi").process() == psutil.Process(os.getpid())
