"""Which addresses may be called: a table of each kind, with what is refused beside what is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from infra.channels.addresses import ADDRESSES_MAX, AddressError, Resolve, judged, refused

ADDRESSES = [
    ("8.8.8.8", None),
    ("93.184.215.14", None),
    ("2606:4700::1111", None),
    ("2a02:6b8::2:242", None),
    # IPv4, each refused network by its first and last address, with its neighbours that may be called.
    ("0.0.0.0", "unspecified"),  # noqa: S104  Nothing is bound here.
    ("0.255.255.255", "unspecified"),
    ("1.0.0.0", None),
    ("9.255.255.255", None),
    ("10.0.0.0", "private"),
    ("10.255.255.255", "private"),
    ("11.0.0.0", None),
    ("100.63.255.255", None),
    ("100.64.0.0", "shared by a carrier's customers"),
    ("100.127.255.255", "shared by a carrier's customers"),
    ("100.128.0.0", None),
    ("127.0.0.1", "loopback"),
    ("127.255.255.255", "loopback"),
    ("128.0.0.0", None),
    ("169.253.255.255", None),
    ("169.254.169.254", "link-local"),
    ("169.255.0.0", None),
    ("172.15.255.255", None),
    ("172.16.0.0", "private"),
    ("172.31.255.255", "private"),
    ("172.32.0.0", None),
    ("192.0.0.170", "reserved"),
    ("192.0.1.0", None),
    ("192.0.2.1", "for documentation"),
    ("192.88.99.1", "reserved"),
    ("192.167.255.255", None),
    ("192.168.0.1", "private"),
    ("192.169.0.0", None),
    ("198.17.255.255", None),
    ("198.18.0.0", "for benchmarks"),
    ("198.19.255.255", "for benchmarks"),
    ("198.20.0.0", None),
    ("198.51.100.1", "for documentation"),
    ("203.0.113.1", "for documentation"),
    ("223.255.255.255", None),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    # IPv6.
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::2", "reserved"),
    ("::127.0.0.1", "reserved"),
    ("100::1", "reserved"),
    ("fc00::1", "unique local"),
    ("fdff::1", "unique local"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "no plain address"),
    ("2606:4700::1111%1", "no plain address"),
    ("fec0::1", "site-local"),
    ("ff02::1", "multicast"),
    ("2001:db8::1", "for documentation"),
    ("3fff::1", "for documentation"),
    ("2001:2::1", "reserved"),
    ("2001:20::1", "reserved"),
    ("2001:200::1", None),
    ("1fff::1", "reserved"),
    ("2000::1", None),
    ("4000::1", "reserved"),
    # IPv4 inside IPv6.
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:10.0.0.1", "private"),
    ("::ffff:a9fe:a9fe", "link-local"),
    ("::ffff:8.8.8.8", None),
    ("64:ff9b::127.0.0.1", "loopback"),
    ("64:ff9b::a9fe:a9fe", "link-local"),
    ("64:ff9b::8.8.8.8", None),
    ("64:ff9b:1::8.8.8.8", "reserved"),
    ("2002:7f00:1::", "loopback"),
    ("2002:a00:1::1", "private"),
    ("2002:808:808::1", None),
    ("2001:0:a00:1::f7f7:f7f7", "private"),  # A Teredo server at 10.0.0.1, a client at 8.8.8.8.
    ("2001:0:808:808::80ff:fffe", "loopback"),  # The other way round, with a client at 127.0.0.1.
    ("2001:0:808:808::f7f7:f7f7", None),
    # What is no address.
    ("", "no plain address"),
    ("127.1", "no plain address"),
    ("0x7f000001", "no plain address"),
    ("2130706433", "no plain address"),
    ("010.8.8.8", "no plain address"),
]


@pytest.mark.parametrize(("address", "words"), ADDRESSES)
def test_an_address_may_be_called_or_not(address: str, words: str | None) -> None:
    """Only what is public, also where it is written inside another address."""
    assert refused(address) == words


def _leads_to(*addresses: str) -> Resolve:
    return lambda _host, _port: addresses


PUBLIC = "93.184.215.14"

HOSTS = [
    # The host of the url, where its name leads, the private hosts; what may be called, or a word of why not.
    ("north.example", (PUBLIC,), "", (PUBLIC,)),
    ("north.example", (PUBLIC, "2606:4700::1111"), "", (PUBLIC, "2606:4700::1111")),
    ("north.example", (PUBLIC, "127.0.0.1"), "", "loopback"),
    ("north.example", ("127.0.0.1", PUBLIC), "", "loopback"),
    ("north.example", ("::ffff:10.1.2.3",), "", "private"),
    ("north.example", (), "", "0 addresses"),
    ("north.example", (PUBLIC,) * (ADDRESSES_MAX + 1), "", "65 addresses"),
    ("north.example", ("10.1.2.3",), "north.example", ("10.1.2.3",)),
    ("NORTH.example.", ("10.1.2.3",), "north.example", ("10.1.2.3",)),
    ("north.example", ("10.1.2.3",), "North.Example.", ("10.1.2.3",)),
    ("north.example", ("10.1.2.3",), "example", "private"),
    ("desk.north.example", ("10.1.2.3",), "north.example", "private"),
    ("north.example", ("10.1.2.3",), "10.1.2.3", "private"),  # By the name in the url, not by where it leads.
    ("localhost", ("127.0.0.1",), "", "this machine"),
    ("localhost.", (PUBLIC,), "", "this machine"),
    ("LocalHost", (PUBLIC,), "", "this machine"),
    ("x.localhost", (PUBLIC,), "", "this machine"),
    ("localhost", ("127.0.0.1",), "localhost", ("127.0.0.1",)),
    ("localhost.example", (PUBLIC,), "", (PUBLIC,)),
    # An address as the host.
    (PUBLIC, ("1.1.1.1",), "", (PUBLIC,)),
    ("127.0.0.1", (PUBLIC,), "", "loopback"),
    ("127.0.0.1.", (PUBLIC,), "", "loopback"),
    ("127.0.0.1", (PUBLIC,), "127.0.0.1", ("127.0.0.1",)),
    ("::1", (PUBLIC,), "", "loopback"),
    ("::ffff:127.0.0.1", (PUBLIC,), "", "loopback"),
    ("fe80::1%eth0", (PUBLIC,), "", "no plain address"),
    # Numbers that some systems read as addresses, wherever they lead.
    ("127.1", (PUBLIC,), "", "is a number"),
    ("2130706433", (PUBLIC,), "", "is a number"),
    ("0x7f000001", (PUBLIC,), "", "is a number"),
    ("0X7F.1", (PUBLIC,), "", "is a number"),
    ("0177.0.0.01", (PUBLIC,), "", "is a number"),
    ("127.0.0.0x1", (PUBLIC,), "", "is a number"),
    ("127.1", ("127.0.0.1",), "127.1", "is a number"),
    ("1.north.example", (PUBLIC,), "", (PUBLIC,)),
    ("0xcafe.example", (PUBLIC,), "", (PUBLIC,)),
    # What is no name.
    ("\uff11\uff12\uff17.0.0.1", ("127.0.0.1",), "", "in ASCII"),
    ("север.example", (PUBLIC,), "", "in ASCII"),
    ("xn--b1agh1afp.example", (PUBLIC,), "", (PUBLIC,)),
    ("north_desk.example", (PUBLIC,), "", (PUBLIC,)),
    ("", (PUBLIC,), "", "in ASCII"),
    (".", (PUBLIC,), "", "in ASCII"),
    ("north..example", (PUBLIC,), "", "in ASCII"),
    ("north.example..", (PUBLIC,), "", "in ASCII"),
    ("north example", (PUBLIC,), "", "in ASCII"),
    ("north.example/", (PUBLIC,), "", "in ASCII"),
    ("a" * 64 + ".example", (PUBLIC,), "", "in ASCII"),
]


@pytest.mark.parametrize(("host", "leads_to", "private", "expected"), HOSTS)
def test_a_host_may_be_called_or_not(
    host: str, leads_to: tuple[str, ...], private: str, expected: tuple[str, ...] | str
) -> None:
    """By all of its addresses, unless its own name is among the private ones."""
    hosts = frozenset({private} if private else ())

    if isinstance(expected, str):
        with pytest.raises(AddressError, match=expected):
            judged(host, 443, private_hosts=hosts, resolve=_leads_to(*leads_to))
    else:
        found = judged(host, 443, private_hosts=hosts, resolve=_leads_to(*leads_to))
        assert tuple(found) == expected


def test_a_name_is_asked_for_once() -> None:
    """What was judged is what is called: a resolver that says something else next time is not asked again."""
    answers = [[PUBLIC], ["127.0.0.1"]]

    def changing(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    assert list(judged("north.example", 8443, private_hosts=frozenset(), resolve=changing)) == [PUBLIC]
    with pytest.raises(AddressError, match=r"127\.0\.0\.1, which is loopback"):
        judged("north.example", 8443, private_hosts=frozenset(), resolve=changing)
