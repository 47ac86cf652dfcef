import socket
import urllib.request

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.org", 443)])
def test_other_machines_are_refused_before_anything_is_sent(address):
    with socket.socket() as connection:
        for connect in (connection.connect, connection.connect_ex):
            with pytest.raises(AssertionError, match="tests stay on this machine"):
                connect(address)


def test_libraries_are_refused_too():
    with pytest.raises(AssertionError, match="tests stay on this machine"):
        urllib.request.urlopen("http://192.0.2.1/", timeout=5)


def test_this_machine_is_reached():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as connection,
    ):
        assert connection.getpeername() == server.getsockname()
