"""Connections that never ask are closed; honest ones are answered all the while."""

import socket
import threading
import time

import pytest

uvicorn = pytest.importorskip("uvicorn")

from a2bgan.serving.reading_room import http_server  # noqa: E402
from a2bgan.serving.reading_room.http_server import MOST_CONNECTIONS, ImpatientProtocol  # noqa: E402

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def app(scope, receive, send):
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
    )
    await send({"type": "http.response.body", "body": b"fine"})


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setattr(http_server, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            app, http=ImpatientProtocol, log_level="critical", lifespan="off",
            limit_concurrency=MOST_CONNECTIONS, timeout_keep_alive=15,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()
        server.should_exit = True
        thread.join()


def ask(peer):
    peer.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"fine"):
        part = peer.recv(1000)
        assert part, answer
        answer += part


def is_closed_after(peer, seconds):
    peer.settimeout(seconds)
    try:
        return peer.recv(1) == b""
    except TimeoutError:
        return False


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: loc"])
def test_a_request_that_does_not_come_is_not_waited_for(address, said):
    with socket.create_connection(address) as peer:
        peer.sendall(said)
        assert is_closed_after(peer, 3)


def test_half_a_second_request_is_not_waited_for_and_pauses_between_requests_are(address):
    with socket.create_connection(address) as peer:
        ask(peer)
        time.sleep(1)  # the browser keeps its connection
        ask(peer)
        peer.sendall(b"GET / HTT")
        assert is_closed_after(peer, 3)


def test_two_hundred_idle_connections_keep_nobody_out(address):
    idle = [socket.create_connection(address) for _ in range(200)]
    for peer in idle[::2]:
        peer.sendall(b"GET / HTTP/1.1\r\nHost:")
    for _ in range(50):
        with socket.create_connection(address) as peer:
            ask(peer)
    assert all(is_closed_after(peer, 3) for peer in idle)
    for peer in idle:
        peer.close()
