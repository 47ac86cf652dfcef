"""Every security property, from outside."""

import asyncio
import socket
import threading
import time
from contextlib import ExitStack

import pytest
import uvicorn
from starlette.testclient import TestClient

from a2bgan.serving.reading_room.access import Access
from a2bgan.serving.reading_room.app import make_app
from a2bgan.serving.reading_room.gate import LARGEST_TEXT, PIECE, Gate
from a2bgan.serving.reading_room.uploads import Limits, Uploads

PRIVATE = [
    ("GET", "/api/room"),
    ("GET", "/api/cases"),
    ("GET", "/api/cases/0"),
    ("GET", "/api/cases/0/thumbnail"),
    ("GET", "/api/cases/0/picture"),
    ("PUT", "/api/cases/0/verdict"),
    ("GET", "/api/verdicts.csv"),
    ("POST", "/api/uploads?suffix=.png"),
    ("GET", "/api/training"),
    ("POST", "/api/report"),
    ("GET", "/report"),
    ("GET", "/api/openapi.json"),
]


def test_the_list_above_is_whole(client):
    paths = client.get("/api/openapi.json").json()["paths"]
    described = {
        (method.upper(), path.replace("{number}", "0"))
        for path, methods in paths.items()
        for method in methods
    }
    tested = {(method, path.partition("?")[0]) for method, path in PRIVATE}
    assert described - tested == {("POST", "/api/login")}


@pytest.mark.parametrize(("method", "path"), PRIVATE)
def test_everything_about_cases_needs_the_token(guarded, token, method, path):
    answer = guarded.request(method, path)
    assert answer.status_code == 401
    assert answer.json() == {"error": "the token is needed"}
    assert guarded.request(method, path, headers={"authorization": "Bearer x"}).status_code == 401
    allowed = guarded.request(method, path, headers={"authorization": f"Bearer {token}"})
    assert allowed.status_code != 401


def test_the_login_gives_a_cookie_that_scripts_and_other_sites_do_not_have(guarded, token):
    assert guarded.post("/api/login", json={"token": "wrong"}).status_code == 403
    assert guarded.get("/api/room").status_code == 401
    answer = guarded.post("/api/login", json={"token": token})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert token not in cookie
    assert guarded.get("/api/room").status_code == 200


def test_whether_it_is_up_is_said_to_everybody_and_nothing_else(guarded):
    strange = {"host": "backend", "origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    for headers in ({}, strange):
        answer = guarded.get("/healthz", headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"status": "up"})
        assert answer.headers["content-security-policy"]
    assert guarded.head("/healthz").status_code == 200
    assert guarded.post("/healthz", headers=strange).status_code == 403


@pytest.fixture
def proxied(room, token):
    """A function that asks for a path at a proxy's name, by https or not."""
    access = Access("127.0.0.1", 8080, token, names=["Rooms.example"], root_path="/x")
    app = make_app(room, access)
    with ExitStack() as stack:
        clients = {
            scheme: stack.enter_context(TestClient(app, base_url=f"{scheme}://rooms.example"))
            for scheme in ("http", "https")
        }
        yield lambda method, path, scheme="https", **options: clients[scheme].request(
            method, path, follow_redirects=False, **options
        )


def test_behind_a_proxy_paths_work_with_the_root_path_and_without(proxied, token):
    bearer = {"authorization": f"Bearer {token}"}
    for root in ("/x", ""):
        assert "main.js" in proxied("GET", f"{root}/").text
        assert proxied("GET", f"{root}/static/main.js").status_code == 200
        assert proxied("GET", f"{root}/healthz").json() == {"status": "up"}
        assert proxied("GET", f"{root}/api/room").status_code == 401
        assert proxied("GET", f"{root}/report").status_code == 401
        assert proxied("GET", f"{root}/api/room", headers=bearer).status_code == 200
        headers = {**bearer, "origin": "https://evil.example"}
        assert proxied("GET", f"{root}/api/room", headers=headers).status_code == 403
        assert proxied("GET", f"{root}/api/room/", headers=bearer).status_code == 404
        assert proxied("GET", f"{root}/", headers={"host": "evil.example"}).status_code == 403
    answer = proxied("GET", "/x")
    assert (answer.status_code, answer.headers["location"]) == (307, "/x/")
    assert proxied("GET", "/y/api/room", headers=bearer).status_code == 404


def test_the_cookie_stays_with_the_room_and_with_https(proxied, token):
    for scheme in ("https", "http"):
        answer = proxied("POST", "/x/api/login", scheme, json={"token": token})
        cookie = answer.headers["set-cookie"]
        assert "Path=/x;" in cookie
        assert ("Secure" in cookie) == (scheme == "https")


def test_one_address_leaves_places_for_the_uploads_of_others(room):
    from fastapi import HTTPException

    uploads = Uploads(room, Limits())
    with ExitStack() as stack:
        for client in ("10.0.0.1", "10.0.0.1", "10.0.0.2"):
            stack.enter_context(uploads.place(client))
        with pytest.raises(HTTPException) as refused:
            stack.enter_context(uploads.place("10.0.0.1"))
        assert refused.value.status_code == 429
        stack.enter_context(uploads.place("10.0.0.3"))
        with pytest.raises(HTTPException):
            stack.enter_context(uploads.place("10.0.0.4"))
    with uploads.place("10.0.0.1"):
        pass
    uploads.close()


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 3 * PIECE])
def test_large_answers_come_whole_and_in_pieces(size):
    sent = []
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def send(message):
        sent.append(message)

    gate = Gate(
        app, Access("127.0.0.1", 8080), uploads=frozenset(), largest_upload=0, seconds=1,
        log=lambda line: None,
    )  # fmt: skip
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
    asyncio.run(gate(scope, None, send))
    assert b"".join(message.get("body", b"") for message in sent) == body
    assert max(len(message.get("body", b"")) for message in sent) <= PIECE
    assert [message.get("more_body", False) for message in sent[1:]] == (
        [True] * (len(sent) - 2) + [False]
    )


def test_the_page_itself_holds_nothing(guarded):
    page = guarded.get("/")
    assert page.status_code == 200
    assert "scan-" not in page.text


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/cases", "/api/none", "/nowhere"])
def test_every_answer_has_the_headers(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


def test_pages_have_no_inline_script_or_style_and_fetch_nothing_else(client):
    page = client.get("/").text
    assert page.count("<script") == page.count('<script type="module" src="static/')
    assert "<style" not in page
    assert "style=" not in page
    assert "onclick" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_rebound_names_and_other_sites_get_nothing(client):
    for headers in (
        {"host": "evil.example:8080"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ):
        for method, path in PRIVATE:
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 403, (method, path, headers)
            assert "scan-" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/room.css/../../app.py",
        "/api/cases/..%2f..%2fconfig.yaml/picture",
        "/api/cases/-1/picture",
        "/api/cases/40/picture",
    ],
)
def test_no_path_leads_out(client, path):
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert "import" not in answer.text
    assert "root:" not in answer.text


def test_a_report_that_is_a_link_out_of_the_run_is_not_served(client, room, tmp_path):
    (tmp_path / "secret.html").write_text("secret")
    (room.folder / "report.html").symlink_to(tmp_path / "secret.html")
    answer = client.get("/report")
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_large_requests_are_refused_by_length_and_by_what_comes(client):
    note = {"note": "x" * LARGEST_TEXT}
    assert client.put("/api/cases/0/verdict", json=note).status_code == 413
    upload = "/api/uploads?suffix=.png"
    assert client.post(upload, content=b"x" * 200_001).status_code == 413
    parts = (b"x" * 10_000 for _ in range(30))  # chunked: no length is told before
    answer = client.post(upload, content=parts)
    assert answer.status_code == 413
    assert "at most" in answer.json()["error"]
    assert client.get("/api/room", headers={"content-length": "-5"}).status_code == 413


def test_errors_show_no_trace_and_repeat_nothing(client, room, logged, monkeypatch):
    def broken(number):
        raise RuntimeError("patient-7 at /secret/path")

    monkeypatch.setattr(room.cases, "planes", broken)
    answer = client.get("/api/cases/3/picture")
    assert answer.status_code == 500
    assert "patient" not in answer.text
    assert "Traceback" not in answer.text
    assert logged == ["GET /api/cases/{number}/picture: RuntimeError"]
    for bad in ({"answer": "patient-9"}, {"note": ["patient-9"]}, {"other": "patient-9"}):
        answer = client.put("/api/cases/3/verdict", json=bad)
        assert answer.status_code == 422
        assert "patient-9" not in answer.text
    assert client.get("/api/cases", params={"show": "patient-9"}).text == (
        '{"error":"not valid: show"}'
    )


def test_websockets_are_closed():
    sent = []

    async def send(message):
        sent.append(message)

    gate = Gate(
        None, Access("127.0.0.1", 1), uploads=frozenset(), largest_upload=1, seconds=1, log=print
    )
    asyncio.run(gate({"type": "websocket"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_body_that_does_not_come_is_given_up(room):
    app = make_app(room, Access("127.0.0.1", 8080), limits=Limits(seconds=0.3))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with socket.create_connection(listening.getsockname(), timeout=10) as slow:
                slow.sendall(
                    b"POST /api/uploads?suffix=.png HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    b"Content-Length: 1000\r\n\r\nx"
                )
                began = time.monotonic()
                assert slow.recv(1000).startswith(b"HTTP/1.1 408")
                assert time.monotonic() - began < 5
        finally:
            server.should_exit = True
            thread.join(10)


def test_the_test_client_is_a_browser_like_any_other(room):
    app = make_app(room, Access("127.0.0.1", 8080))
    with TestClient(app, base_url="http://evil.example") as client:
        assert client.get("/").status_code == 403
