"""Who may ask: hosts, origins and the token. Nothing here knows what is asked for."""

import hmac
import re
import secrets
import socket
from collections.abc import Mapping, Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from a2bgan.errors import InputError
from a2bgan.serving.addresses import is_address, is_loopback

SHORTEST_TOKEN = 16

# Beside the server's own paths, so that a proxy may take the root path off or leave it.
_ROOT_PATH = re.compile(r"(?!/(api|static|report|healthz)(/|$))(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")


class Access:
    """The rules of one server.

    Args:
        host, port: what it listens on.
        token: asked for with every request for data; needed unless nobody but this machine
            reaches the server.
        names: that others reach it by, such as a proxy's.
        root_path: what its paths begin with behind a proxy.
        proxied: whether there is a proxy, as there is where any of these is given.

    Raises InputError if a token is missing or too short, or for a root path that is none.
    """

    def __init__(
        self,
        host: str,
        port: int,
        token: str | None = None,
        *,
        names: Sequence[str] = (),
        root_path: str = "",
        proxied: bool = False,
    ) -> None:
        self.loopback = is_loopback(host)
        reached = "" if self.loopback else f"--host {host}: others can reach this address"
        if not reached and (proxied or names or root_path):
            reached = "--proxy, --name and --root-path let others reach the server"
        if token is None and reached:
            raise InputError(f"{reached}; give --token, or set A2BGAN_TOKEN")
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise InputError(f"the token is too short: {SHORTEST_TOKEN} characters or more")
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
                raise InputError(f"--name {name}: give a host name alone, like room.example.org")
        if not _ROOT_PATH.fullmatch(root_path):
            raise InputError(f"--root-path {root_path}: give a path like /reading-room")
        self.root_path = root_path
        self._token = None if token is None else token.encode()
        self.cookie = f"a2bgan-{port}"  # cookies do not tell ports apart
        self.session = secrets.token_urlsafe(32)
        self._names = {"localhost", host.lower(), *map(str.lower, names)}
        if not self.loopback:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def knows_host(self, header: str) -> bool:
        """True for a Host header with one of this server's names.

        Another site's name that was made to point here (DNS rebinding) is not. Addresses, which
        cannot be rebound, are taken; only loopback ones where that is all the server listens on.
        """
        try:
            name = (urlsplit(f"//{header}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        return is_loopback(name) if self.loopback else is_address(name)

    @staticmethod
    def same_origin(headers: Mapping[str, str], *, navigation: bool) -> bool:
        """True where a page of this server asks, or no page at all, as far as the browser says.

        ``navigation`` permits links from other pages, which show them nothing.
        """
        origin = headers.get("origin")
        if origin is not None:
            host = headers.get("host", "").lower()
            return origin.lower() in (f"http://{host}", f"https://{host}")
        site = headers.get("sec-fetch-site", "none")
        linked = navigation and headers.get("sec-fetch-mode") == "navigate"
        return site in ("none", "same-origin") or linked

    def is_token(self, given: str) -> bool:
        """Compared in constant time; always so where no token was set."""
        return self._token is None or hmac.compare_digest(given.encode(), self._token)

    def admits(self, headers: Mapping[str, str]) -> bool:
        """True with the cookie of `session` or the header `Authorization: Bearer TOKEN`."""
        if self._token is None:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.is_token(given.strip())
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(
            cookie.value.encode(), self.session.encode()
        )
