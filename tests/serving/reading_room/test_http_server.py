"""Peers that hoard connections, or speak no HTTP, before a server that listens."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

pytest.importorskip("uvicorn")

from a2bgan.errors import InputError
from a2bgan.serving.addresses import parse_networks
from a2bgan.serving.reading_room import http_server
from a2bgan.serving.reading_room.gate import HEADERS, PIECE

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
MANY = 500


async def app(scope, receive, send):
    """Answers who asks, or much, or as slowly as the body comes."""
    if scope["path"] == "/body":
        while (await receive()).get("more_body"):
            pass
    client = f"{scope['scheme']}://{scope['client'][0]}"
    pieces = [b"x" * PIECE] * MANY if scope["path"] == "/large" else [client.encode()]
    headers = [(b"content-length", str(sum(map(len, pieces))).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


@contextmanager
def served(proxies=(), tls=None):
    networks = parse_networks("--proxy", proxies)
    with http_server.listen("127.0.0.1", 0, proxies=networks, encrypted=tls is not None) as door:
        server = http_server.make_server(app, door, proxies=networks, tls=tls)
        server.config.lifespan = "off"
        thread = threading.Thread(target=http_server.run, args=(server, door))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield door.getsockname()
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setattr(http_server, "SECONDS", 0.5)
    with served() as address:
        yield address


@pytest.fixture
def full(monkeypatch):
    """A server for twenty connections, ten from one peer, that waits long."""
    monkeypatch.setattr(http_server, "SECONDS", 30)
    monkeypatch.setattr(http_server, "MOST_OF_ONE", 10)
    monkeypatch.setattr(http_server, "MOST_CONNECTIONS", 20)
    monkeypatch.setattr(http_server, "GRACE", 0.2)
    with served() as address:
        yield address


def connect(address, peer="127.0.0.1"):
    return socket.create_connection(address, timeout=10, source_address=(peer, 0))


def ask(connection, request=REQUEST):
    """Status, headers and body of an answer."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = connection.recv(1000)
        assert part, answer
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(1000)
    return int(first.split()[1]), headers, body


def is_closed_after(peer, seconds):
    peer.settimeout(seconds)
    try:
        while peer.recv(1000):
            pass  # it was told why
        return True
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: loc"])
def test_a_request_that_does_not_come_is_not_waited_for(address, said):
    with connect(address) as peer:
        peer.sendall(said)
        assert is_closed_after(peer, 3)


def test_half_a_second_request_is_not_waited_for_and_pauses_between_requests_are(address):
    with connect(address) as peer:
        ask(peer)
        time.sleep(1)  # the browser keeps its connection
        ask(peer)
        peer.sendall(b"GET / HTT")
        assert is_closed_after(peer, 3)


def test_a_connection_without_further_requests_is_closed(monkeypatch):
    monkeypatch.setattr(http_server, "KEEP_ALIVE", 1)
    with served() as address, connect(address) as peer:
        ask(peer)
        assert not is_closed_after(peer, 0.5)
        assert is_closed_after(peer, 3)


def test_an_answer_that_is_not_taken_is_not_kept(address):
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(10)
        peer.connect(address)
        peer.sendall(REQUEST.replace(b"/ ", b"/large ", 1))
        time.sleep(3)
        got = 0
        with pytest.raises(ConnectionResetError):
            while part := peer.recv(10**6):
                got += len(part)
            raise ConnectionResetError  # ended without one, but early
        assert got < MANY * PIECE


def test_a_peer_that_hoards_connections_takes_them_from_itself(full):
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(full, "127.0.0.2")) for _ in range(30)]
        for peer in idle[::2]:
            peer.send(b"GET / HTTP/1.1\r\nHost:")
        time.sleep(0.3)
        # Others are let in, and so is the same peer, as soon as it asks.
        for peer in ("127.0.0.3", "127.0.0.2"):
            with connect(full, peer) as honest:
                assert ask(honest)[0] == 200
        still = sum(not is_closed_after(peer, 0.05) for peer in idle)
        assert still <= 10


def test_one_that_opens_too_many_at_once_is_refused_and_not_others(full, monkeypatch):
    monkeypatch.setattr(http_server, "GRACE", 60)
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(full, "127.0.0.2")) for _ in range(10)]
        time.sleep(0.3)
        with connect(full, "127.0.0.2") as late:
            assert ask(late)[0] == 503
        with connect(full, "127.0.0.3") as other:
            assert ask(other)[0] == 200
        assert not any(is_closed_after(peer, 0.05) for peer in idle)
        # Those that are closed count no longer.
        for peer in idle:
            peer.close()
        time.sleep(0.3)
        with connect(full, "127.0.0.2") as late:
            assert ask(late)[0] == 200


def test_many_peers_that_ask_nothing_make_room_for_those_who_do(full):
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(full, f"127.0.1.{k}")) for k in range(1, 31)]
        time.sleep(0.3)
        with connect(full, "127.0.0.3") as honest:
            assert ask(honest)[0] == 200
        assert sum(not is_closed_after(peer, 0.05) for peer in idle) <= 20


def test_connections_at_work_are_not_closed_for_new_ones_which_are_told_so(full):
    body = b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
    large = REQUEST.replace(b"/ ", b"/large ", 1)
    with ExitStack() as stack:
        busy = [stack.enter_context(connect(full)) for _ in range(10)]
        for peer in busy:
            peer.sendall(large)
            assert peer.recv(15) == b"HTTP/1.1 200 OK"
        with connect(full) as late:
            status, headers, said = ask(late)
        assert status == 503
        assert json.loads(said) == {"error": "too many connections; try again"}
        assert headers.items() >= HEADERS.items()
        # Another address is none of their business.
        with connect(full, "127.0.0.3") as other:
            assert ask(other)[0] == 200
    with ExitStack() as stack:
        # A body that does not come is waiting, too.
        time.sleep(0.5)
        for _ in range(10):
            stack.enter_context(connect(full)).sendall(body)
        time.sleep(0.5)
        with connect(full) as honest:
            assert ask(honest)[0] == 200


def test_a_proxy_has_no_limit_of_its_own_and_says_who_asks(monkeypatch):
    monkeypatch.setattr(http_server, "MOST_OF_ONE", 2)
    forwarded = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n"
    request = REQUEST[:-2] + forwarded
    with served(proxies=["127.0.0.2"]) as address, ExitStack() as stack:
        for _ in range(5):
            proxy = stack.enter_context(connect(address, "127.0.0.2"))
            assert ask(proxy, request)[2] == b"https://192.0.2.7"
        assert ask(proxy, request)[2] == b"https://192.0.2.7"
        # Anybody else may say what he likes.
        stranger = stack.enter_context(connect(address, "127.0.0.3"))
        assert ask(stranger, request)[2] == b"http://127.0.0.3"
    with served() as address, connect(address) as stranger:
        assert ask(stranger, request)[2] == b"http://127.0.0.1"


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000,
    ],
)
def test_what_is_no_request_is_answered_with_the_headers(address, said):
    with connect(address) as peer:
        status, headers, body = ask(peer, said)
        assert status in (400, 431)
        assert "error" in json.loads(body)
        assert headers.items() >= HEADERS.items()
        assert is_closed_after(peer, 3)


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Files of a certificate and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    make += ["-keyout", key, "-out", certificate]
    subprocess.run(make, check=True, capture_output=True)
    return certificate, key


def test_with_a_certificate_it_speaks_https_alone(tls, monkeypatch):
    monkeypatch.setattr(http_server, "SECONDS", 0.5)
    context = ssl.create_default_context(cafile=tls[0])
    with served(tls=tls) as address:
        with context.wrap_socket(connect(address), server_hostname="localhost") as peer:
            assert peer.version() in ("TLSv1.2", "TLSv1.3")
            assert ask(peer)[2] == b"https://127.0.0.1"
        with connect(address) as plain, pytest.raises((AssertionError, ConnectionResetError)):
            ask(plain)
        with connect(address) as silent:  # never begins the handshake
            assert is_closed_after(silent, 3)


def test_a_certificate_that_cannot_be_used_is_one_line(tls, tmp_path):
    certificate, key = tls
    http_server.check_certificate(certificate, key)
    other, locked = tmp_path / "other.pem", tmp_path / "locked.pem"
    subprocess.run(["openssl", "genrsa", "-out", other, "2048"], check=True, capture_output=True)
    lock = ["openssl", "rsa", "-aes256", "-passout", "pass:word", "-in", key, "-out", locked]
    subprocess.run(lock, check=True, capture_output=True)
    for one, two in (
        (certificate, other),
        (certificate, locked),
        (tmp_path / "no", key),
        (key, key),
    ):
        with pytest.raises(InputError, match="cannot be used") as said:
            http_server.check_certificate(one, two)
        assert "\n" not in str(said.value)
