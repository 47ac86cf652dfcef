"""Addresses and networks of peers."""

import ipaddress
from collections.abc import Iterable, Sequence

from a2bgan.errors import InputError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_networks(option: str, texts: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks as an option gives them. Raises InputError."""
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise InputError(
                f"{option} {text}: not an address or network; give one like 10.0.0.2 or 10.0.0.0/24"
            ) from None
    return tuple(found)


def is_in(peer: str, networks: Sequence[Network]) -> bool:
    """True for a peer's address in one of the networks."""
    address = parse_peer(peer)
    return any(address in network for network in networks)


def parse_peer(peer: str) -> Address:
    """The address of a connection, without its scope; IPv4 where that is written as IPv6."""
    address = ipaddress.ip_address(peer.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_address(host: str) -> bool:
    """True for a host that is an address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """True for a host that only this machine reaches."""
    return host.lower() == "localhost" or (
        is_address(host) and ipaddress.ip_address(host).is_loopback
    )
