"""How far addresses reach."""

import pytest

from models.host_address import METADATA, Reach, literal_reach, reach_of


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "104.18.6.192", "2606:4700::6810:7c0", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_the_internet_is_public(address: str) -> None:
    assert reach_of(address) is Reach.PUBLIC


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
def test_loopback_is_this_machine_however_it_is_written(address: str) -> None:
    assert reach_of(address) is Reach.LOOPBACK


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "100.127.0.1",
        "169.254.1.2",
        "198.18.0.1",
        "fd12::1",
        "fe80::1%eth0",
        "fec0::1",
        "::ffff:10.0.0.1",
        "2002:a00:1::1",
    ],
)
def test_private_networks_are_ones_own(address: str) -> None:
    assert reach_of(address) is Reach.PRIVATE


@pytest.mark.parametrize(
    "address",
    [
        *sorted(map(str, METADATA)),
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "0.0.0.0",
        "::",
        "::7f00:1",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "2001:db8::1",
        "2001:0:7f00:1::",
        "ff02::1",
    ],
)
def test_some_addresses_are_no_providers(address: str) -> None:
    assert reach_of(address) is Reach.NEVER


@pytest.mark.parametrize("address", ["", "example.com", "127.1", "0177.0.0.1", "2130706433", "127.0.0.1.", "1.2.3.4.5"])
def test_what_is_no_address_is_none(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        reach_of(address)


def test_of_names_only_localhost_is_known() -> None:
    assert literal_reach("localhost") is Reach.LOOPBACK
    assert literal_reach("api.localhost") is Reach.LOOPBACK
    assert literal_reach("localhost.example.com") is None
    assert literal_reach("10.0.0.1") is Reach.PRIVATE
