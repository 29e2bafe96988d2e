"""Addresses that a provider's name may lead to: public ones, those of one's own network, and those that no provider has.

IANA's special-purpose registries (RFC 6890 and later), plus where clouds keep the credentials of their machines.
"""

from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address


class Reach(StrEnum):
    """How far an address reaches. `never`: metadata of a cloud's machines, broadcast, documentation, this network."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    NEVER = "never"


#: Services that give a machine's credentials to whoever asks from it: AWS (EC2, ECS, EKS), Google, Azure, Alibaba, Oracle.
METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",
            "169.254.169.253",
            "169.254.170.2",
            "169.254.170.23",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
        ),
    )
)

_LOOPBACK = tuple(map(ip_network, ("127.0.0.0/8", "::1/128")))

_PRIVATE = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "198.18.0.0/15",
            "fc00::/7",
            "fe80::/10",
            "fec0::/10",
        ),
    )
)

_NEVER = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
            "::/96",
            "100::/64",
            "2001::/23",
            "2001:db8::/32",
            "3fff::/20",
            "5f00::/16",
            "ff00::/8",
        ),
    )
)

_NAT64 = tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48")))


def allowed_reaches(*, tls: bool, allow_private: bool) -> frozenset[Reach]:
    """Where a provider's key and texts may go: over the internet encrypted only, into one's own network if that is allowed."""
    public = {Reach.PUBLIC} if tls else set()
    return frozenset(public | ({Reach.LOOPBACK, Reach.PRIVATE} if allow_private else set()))


def reach_of(address: str) -> Reach:
    """How far the IP address in `address` reaches; an IPv4 address inside an IPv6 one decides. ValueError for no address."""
    return _reach(ip_address(address.partition("%")[0]))


def literal_reach(host: str) -> Reach | None:
    """The same for a host that is written as an address, or as localhost; None for another name."""
    if host == "localhost" or host.endswith(".localhost"):
        return Reach.LOOPBACK
    try:
        return reach_of(host)
    except ValueError:
        return None


def _reach(address: Address) -> Reach:
    inner = _embedded(address)
    if inner is not None:
        return _reach(inner)
    if address in METADATA:
        return Reach.NEVER
    for reach, networks in ((Reach.LOOPBACK, _LOOPBACK), (Reach.PRIVATE, _PRIVATE), (Reach.NEVER, _NEVER)):
        if any(address in network for network in networks):
            return reach
    return Reach.PUBLIC


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address to which a mapped, translated or tunnelled one leads."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None
