"""Which addresses a webhook may lead to: public ones, unless the agency's entry names the host as a private one.

Called by `https_connection` for each connection, which then goes to an address that was judged here: a name that
leads elsewhere a moment later changes nothing. What stands for an IPv4 address inside an IPv6 one is judged too.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a host, as text. Raises OSError."""

ADDRESSES_MAX = 64
"""Of one host. More is no agency's desk."""

_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*")
"""In ASCII: letters of other scripts may look like digits, and be read as such."""

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that some systems read as a part of an address, like 127.1 or 0x7f000001."""

_REFUSED = [
    (ip_network(network), words)
    for network, words in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier's customers"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        ("2001:db8::/32", "for documentation"),
        ("3fff::/20", "for documentation"),
    )
]

_GLOBAL = IPv6Network("2000::/3")
"""All that is handed out of IPv6; what is in none of the rows above and not in here is reserved."""

_PROTOCOLS = IPv6Network("2001::/23")
"""Of that, what is kept for protocols; of it Teredo, which holds IPv4 addresses, is judged by those."""

_NAT64 = IPv6Network("64:ff9b::/96")


class AddressError(Exception):
    """The host may not be called; the message says why, and what would be done about it."""


def system_resolve(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says, as often as it is asked. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def plain(host: str) -> str:
    """A host's name as it is compared and certified: in small letters, without the dot at its end."""
    return host.lower().removesuffix(".")


def judged(host: str, port: int, *, private_hosts: frozenset[str], resolve: Resolve) -> Sequence[str]:
    """The addresses of a host, all of them judged. Raises AddressError for one that won't do, OSError for none."""
    name = plain(host)
    private = name in {plain(one) for one in private_hosts}
    literal = _literal(name)
    if literal is None:
        _judge_name(name, private=private)
    addresses = [name] if literal is not None else list(resolve(name, port))
    if not 0 < len(addresses) <= ADDRESSES_MAX:
        raise AddressError(f"{name} has {len(addresses)} addresses, and may have 1 to {ADDRESSES_MAX}")
    for address in addresses:
        words = None if private else refused(address)
        if words is not None:
            raise AddressError(f"{name} leads to {address}, which is {words}: name it in private_hosts if it may")
    return addresses


def refused(address: str) -> str | None:
    """What is wrong with an address, in words; None for a public one."""
    found = _literal(address)
    if found is None or getattr(found, "scope_id", None) is not None:
        return "no plain address"
    inside = list(_inside(found))
    if inside:
        return next((words for one in inside if (words := _words(one)) is not None), None)
    return _words(found)


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _judge_name(name: str, *, private: bool) -> None:
    if not _NAME.fullmatch(name):
        raise AddressError("the host must be a name in ASCII (xn--.. for other letters), or an address")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise AddressError(f"{name} is a number: write the address with four numbers, or a name")
    if not private and (name == "localhost" or name.endswith(".localhost")):
        raise AddressError(f"{name} is this machine: name it in private_hosts if it may be called")


def _words(address: IPv4Address | IPv6Address) -> str | None:
    for network, words in _REFUSED:
        if address in network:
            return words
    if address.version == 6 and (address not in _GLOBAL or address in _PROTOCOLS):
        return "reserved"
    return None


def _inside(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses to which packets for this IPv6 address may go."""
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFF_FFFF)
