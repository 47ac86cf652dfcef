import pytest

from a2bgan.errors import InputError
from a2bgan.serving.reading_room.access import Access

LONG = "0123456789abcdef"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "scanner.example"])
def test_hosts_that_others_reach_need_a_token_of_some_length(host):
    with pytest.raises(InputError, match="give --token"):
        Access(host, 8080)
    with pytest.raises(InputError, match="too short"):
        Access(host, 8080, LONG[:15])
    assert not Access(host, 8080, LONG).loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_needs_none(host):
    assert Access(host, 8080).admits({})


def test_behind_a_proxy_a_token_is_needed_on_any_host():
    for options in ({"proxied": True}, {"names": ["a.example"]}, {"root_path": "/x"}):
        with pytest.raises(InputError, match="give --token"):
            Access("127.0.0.1", 8080, **options)
        access = Access("127.0.0.1", 8080, LONG, **options)
        assert access.knows_host("a.example:80") == ("names" in options)
        assert not access.knows_host("b.example")
        assert not access.admits({})


@pytest.mark.parametrize("path", ["/x", "/a/b-c.d", ""])
def test_root_paths(path):
    assert Access("127.0.0.1", 8080, LONG, root_path=path).root_path == path


@pytest.mark.parametrize(
    "path", ["/", "x", "/x/", "//x", "/api", "/static/x", "/a b", "/../x", "/x;Secure", "/a\n"]
)
def test_paths_that_a_proxy_could_not_take_off_are_refused(path):
    with pytest.raises(InputError, match="--root-path"):
        Access("127.0.0.1", 8080, LONG, root_path=path)


@pytest.mark.parametrize("name", ["https://a.example", "a.example:8080", "a.example/x", ""])
def test_names_are_names_alone(name):
    with pytest.raises(InputError, match="--name"):
        Access("127.0.0.1", 8080, LONG, names=[name])


def test_names_that_point_here_are_not_this_server():
    own = Access("127.0.0.1", 8080)
    for name in ("127.0.0.1:8080", "localhost:8080", "[::1]:8080", "LOCALHOST"):
        assert own.knows_host(name)
    for name in ("evil.example:8080", "192.168.1.5", "127.0.0.1.evil.example", "", "a:b:c", "[::1"):
        assert not own.knows_host(name)
    open_one = Access("0.0.0.0", 8080, LONG)
    assert open_one.knows_host("192.168.1.5:8080")
    assert not open_one.knows_host("evil.example")


def test_only_pages_of_this_server_may_ask():
    def asks(navigation=False, **headers):
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return Access.same_origin({"host": "127.0.0.1:8080", **named}, navigation=navigation)

    assert asks()
    assert asks(origin="http://127.0.0.1:8080")
    for origin in (
        "http://evil.example", "null", "http://127.0.0.1:9090", "http://localhost:8080", "http://[",
        "", "file://127.0.0.1:8080",
    ):  # fmt: skip
        assert not asks(origin=origin)
    assert asks(sec_fetch_site="same-origin")
    assert not asks(sec_fetch_site="cross-site")
    assert not asks(sec_fetch_site="same-site")
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert asks(navigation=True, **link)
    assert not asks(navigation=False, **link)


def test_the_token_or_the_session_is_needed():
    access = Access("0.0.0.0", 8080, LONG)
    assert access.admits({"authorization": f"Bearer {LONG}"})
    assert access.admits({"cookie": f"other=1; {access.cookie}={access.session}"})
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {LONG}"},
        {"cookie": f"{access.cookie}={LONG}"},  # the token itself is no session
        {"cookie": "\0;=;;"},
        {"authorization": "Bearer \u00e9"},
    ):
        assert not access.admits(headers)
    assert Access("0.0.0.0", 8080, LONG).session != access.session
