"""A network of our own on this machine: a host for each name, and links between any two, which can be cut.

Used by the tests of what a broken network does. A host is a Linux network namespace with one address on a bridge,
where this process has an address too, so it reaches every host whatever is cut. A cut link loses packets without a
word, as a broken switch does: nobody is refused, all wait. It needs root and the command `ip`, and changes nothing
that it did not make.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any

import psutil  # type: ignore[import-untyped]  # Ships without types; the extra `embedded` brings it.

from infra.embedded import Seat

NOBODY = "02:00:00:00:00:00"
"""A hardware address that no interface has: what is sent there reaches nobody."""

SUBNETS = ipaddress.ip_network("198.18.0.0/15").subnets(new_prefix=24)
"""Kept for tests of networks (RFC 2544), so no address of them means anything elsewhere."""

MADE_BY = re.compile(r"guard-(\d+)-\w+")
"""The name of a host: the process that made it, and what for."""

COMMAND_SECONDS = 10


class NetworkError(Exception):
    """A network can't be made here; the message says why."""


class Network:
    """Hosts on one bridge; made on entry, and gone on exit with all that was cut."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._bridge = f"gb{os.getpid()}"
        self._spaces = {host: f"guard-{os.getpid()}-{host}" for host in hosts}
        self._addresses: dict[str, str] = {}
        self._cut: set[tuple[str, str]] = set()
        self.here = ""
        """The address of this process on the bridge."""

    def __enter__(self) -> Network:
        remove_leftovers()
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def seat(self, host: str) -> Seat:
        """Where a server sits that runs on a host."""
        return Seat(self._addresses[host], ("ip", "netns", "exec", self._spaces[host]))

    def cut(self, host: str, *others: str) -> None:
        """Nothing passes any more between a host and these others, in either direction."""
        for other in others:
            self.cut_one_way(host, other)
            self.cut_one_way(other, host)

    def cut_one_way(self, sender: str, receiver: str) -> None:
        """What a host sends to another is lost; what the other sends arrives."""
        at = ("dev", "eth0")
        self._in(sender, "neigh", "replace", self._addresses[receiver], "lladdr", NOBODY, "nud", "permanent", *at)
        self._cut.add((sender, receiver))

    def heal(self) -> None:
        """Everything passes again."""
        for sender, receiver in self._cut:
            self._in(sender, "neigh", "del", self._addresses[receiver], "dev", "eth0")
        self._cut.clear()

    def _make(self) -> None:
        subnet = _free_subnet()
        here, *addresses = map(str, itertools.islice(subnet.hosts(), len(self._spaces) + 1))
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{here}/{subnet.prefixlen}", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for number, (host, address) in enumerate(zip(self._spaces, addresses, strict=True)):
            space, end = self._spaces[host], f"gv{os.getpid()}-{number}"
            _ip("netns", "add", space)
            _ip("link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", end, "master", self._bridge, "up")
            self._addresses[host] = address
            self._in(host, "addr", "add", f"{address}/{subnet.prefixlen}", "dev", "eth0")
            self._in(host, "link", "set", "lo", "up")
            self._in(host, "link", "set", "eth0", "up")
        self.here = here

    def _remove(self) -> None:
        for space in self._spaces.values():
            with contextlib.suppress(NetworkError):  # It was not made, or is gone.
                _ip("netns", "del", space)
        for link in _links():
            if re.fullmatch(rf"g[bv]{os.getpid()}(-\d+)?", link):
                with contextlib.suppress(NetworkError):  # It went with its namespace.
                    _ip("link", "del", link)

    def _in(self, host: str, *words: str) -> None:
        _ip("-n", self._spaces[host], *words)


def remove_leftovers() -> None:
    """Remove what runs that died have left: hosts and links whose maker is gone."""
    for found in _listed("netns", "list"):
        made_by = MADE_BY.fullmatch(found.get("name", ""))
        if made_by and not psutil.pid_exists(int(made_by[1])):
            _ip("netns", "del", made_by[0])
    for link in _links():
        made_by = re.fullmatch(r"g[bv](\d+)(?:-\d+)?", link)
        if made_by and not psutil.pid_exists(int(made_by[1])):
            with contextlib.suppress(NetworkError):  # It went with its namespace.
                _ip("link", "del", link)


def _free_subnet() -> ipaddress.IPv4Network:
    """A network in which this machine has no address yet."""
    taken = {ipaddress.ip_address(one["local"]) for link in _listed("addr") for one in link["addr_info"]}
    for subnet in SUBNETS:
        if isinstance(subnet, ipaddress.IPv4Network) and not any(address in subnet for address in taken):
            return subnet
    raise NetworkError("no free network is left in 198.18.0.0/15")


def _links() -> Iterator[str]:
    return (str(link["ifname"]) for link in _listed("link"))


def _listed(*words: str) -> list[dict[str, Any]]:  # `Any`: JSON, as it is.
    found: list[dict[str, Any]] = json.loads(_ip("-json", *words) or "[]")
    return found


def _ip(*words: str) -> str:
    try:
        ended = subprocess.run(
            ["ip", *words],  # noqa: S607 # Its folder differs among distributions.
            check=True,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
    except FileNotFoundError as why:
        raise NetworkError("the command `ip` is missing: install iproute2") from why
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as why:
        raise NetworkError(f"ip {' '.join(words)}: {str(why.stderr).strip() or why}") from why
    return ended.stdout
