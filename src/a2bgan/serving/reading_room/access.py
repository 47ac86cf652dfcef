"""Who may ask: hosts, origins and the token. Nothing here knows what is asked for."""

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from a2bgan.errors import InputError

SHORTEST_TOKEN = 16


class Access:
    """The rules of one server.

    Args:
        host, port: what it listens on.
        token: asked for with every request for data; needed unless the host is this machine's own
            loopback address.

    Raises InputError if a token is missing or too short.
    """

    def __init__(self, host: str, port: int, token: str | None = None) -> None:
        self.loopback = is_loopback(host)
        if token is None and not self.loopback:
            raise InputError(
                f"--host {host}: others can reach this address; give --token, or set A2BGAN_TOKEN"
            )
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise InputError(f"the token is too short: {SHORTEST_TOKEN} characters or more")
        self._token = None if token is None else token.encode()
        self.cookie = f"a2bgan-{port}"  # cookies do not tell ports apart
        self.session = secrets.token_urlsafe(32)
        self._names = {"localhost", host.lower()}
        if not self.loopback:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def knows_host(self, header: str) -> bool:
        """Whether a Host header is one of this server's names.

        Another site's name that was made to point here (DNS rebinding) is not. Addresses, which
        cannot be rebound, are taken; only loopback ones where that is all the server listens on.
        """
        try:
            name = (urlsplit(f"//{header}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        return is_loopback(name) if self.loopback else _is_address(name)

    @staticmethod
    def same_origin(headers: Mapping[str, str], *, navigation: bool) -> bool:
        """Whether a page of this server asks, or no page at all, as far as the browser says.

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
        """Whether the cookie of `session` or the header `Authorization: Bearer TOKEN` is there."""
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


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host or address."""
    if host.lower() == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
