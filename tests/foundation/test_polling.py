import socket
import time

import pytest

from foundation.errors import UserError
from foundation.polling import wait_until
from foundation.ports import LOOPBACK, check_port, free_ports


def test_wait_until_returns_the_first_true_answer():
    answers = iter([0, 0, 7, 8])
    assert wait_until(lambda: next(answers), every=0.001) == 7


def test_wait_until_gives_up_when_time_is_up_and_passes_errors_on():
    started = time.monotonic()
    assert not wait_until(lambda: False, every=0.01, seconds=0.05)
    assert 0.05 <= time.monotonic() - started < 5
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 // 0, every=0.01)


def test_free_ports_differ_and_a_taken_one_is_refused():
    ports = free_ports(3)
    assert len(set(ports)) == 3
    check_port(ports[0])
    with socket.create_server((LOOPBACK, ports[0])), pytest.raises(UserError, match=f"port: 127.0.0.1:{ports[0]} "):
        check_port(ports[0])


@pytest.mark.parametrize("port", [70000, 65536, 0, -1, "abc", "8080", 80.0, True, None])
def test_what_is_no_port_is_refused_in_a_line(port: object):
    with pytest.raises(UserError, match=f"port: found {port!r}; give a whole number from 1 to 65535"):
        check_port(port)
