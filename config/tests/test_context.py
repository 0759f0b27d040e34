"""Who sent a request: what is believed about that, and by what it is known."""

import ipaddress

import pytest
from django.test import RequestFactory

from config.api.context import client, client_pseudonym, network_of
from config.environment import parse_networks

PROXIES = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "2001:db8:ff::/48")]


def seen(peer: str, **headers: str) -> str:
    return network_of(RequestFactory().get("/", REMOTE_ADDR=peer, headers=headers))


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP"])
def test_who_is_no_trusted_proxy_is_the_client_whatever_it_says(settings, header):
    """T2, L18"""
    settings.TRUSTED_PROXIES = PROXIES
    assert seen("203.0.113.7", **{header: "198.51.100.1"}) == "203.0.113.7"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("6.6.6.6, 198.51.100.1", "198.51.100.1"),  # the first was written by the client
        ("6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("6.6.6.6, nonsense", "10.0.0.1"),
        ("", "10.0.0.1"),
        (" , ", "10.0.0.1"),
        ("198.51.100.1:1234", "10.0.0.1"),
    ],
)
def test_a_trusted_proxy_is_believed_about_who_came_to_it_and_nobody_before(settings, forwarded, client):
    """T2"""
    settings.TRUSTED_PROXIES = PROXIES
    assert seen("10.0.0.1", **{"X-Forwarded-For": forwarded}) == client


@pytest.mark.parametrize("header", ["Forwarded", "X-Real-IP"])
def test_of_a_trusted_proxy_one_header_is_read_and_no_other(settings, header):
    """T2"""
    settings.TRUSTED_PROXIES = PROXIES
    assert seen("10.0.0.1", **{header: "198.51.100.1"}) == "10.0.0.1"


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7", "203.0.113.7"),
        ("", ""),
    ],
)
def test_an_ipv6_client_is_its_network(address, client):
    """T3"""
    assert seen(address) == client


def test_a_client_is_kept_under_a_name_that_is_not_its_address():
    """P3, P6"""
    assert client_pseudonym() == ""
    names = []
    for network in ("203.0.113.7", "203.0.113.7", "203.0.113.8"):
        token = client.set(network)
        names.append(client_pseudonym())
        client.reset(token)
    assert names[0] == names[1] != names[2]
    assert len(names[0]) == 32
    assert "203" not in names[0] or "113" not in names[0]


def test_proxies_are_written_as_addresses_and_networks():
    """S9"""
    assert parse_networks(" 10.0.0.0/8 ,127.0.0.1,") == [PROXIES[0], ipaddress.ip_network("127.0.0.1")]
    for wrong in ("nonsense", "10.0.0.0/33", "10.0.0.1/8", "1.2.3"):
        with pytest.raises(Exception, match="Write addresses or networks"):
            parse_networks(wrong)
