"""The socket of a server, or why there is none."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from a2bgan.errors import InputError


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket. Raises InputError if the port is taken or the address is not ours."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
    except OSError as error:
        raise InputError(f"--host {host}: no such address here ({error.strerror})") from None
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen(128)
        except OSError as error:
            raise InputError(
                f"--host {host} --port {port}: cannot listen there ({error.strerror}); "
                "choose another --port"
            ) from None
        yield listening
