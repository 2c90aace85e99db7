"""What certificates may be called."""

from __future__ import annotations

import pytest

from sockstream.certs.names import checked_hosts, checked_name
from sockstream.exceptions import ConfigError


@pytest.mark.parametrize("name", ["site", "Site-7", "a", "shop_3.north", "x" * 64])
def test_names_of_letters_digits_and_what_joins_them(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../site", "a/b", "a\\b", "-site", "site.", "a b", "a\nb", "a\0b", "Zürich",
     "site:1", "x" * 65, "ca", "CA", "crl", "issued", "٣"],
)  # fmt: skip
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError) as found:
        checked_name(name)
    assert found.value.mend
    assert "\n" not in str(found.value)


def test_hosts_stand_in_the_certificate_once_and_in_one_spelling() -> None:
    given = ["Central.Example.org", "central.example.org", "[::1]", "0:0::1", "10.0.0.7"]
    assert checked_hosts(given) == ("central.example.org", "::1", "10.0.0.7")
    assert checked_hosts(["central", "Bücher.example", "*.example.org"]) == (
        "central",
        "xn--bcher-kva.example",
        "*.example.org",
    )


@pytest.mark.parametrize(
    "host",
    [
        "",
        "central:9000",
        "https://central",
        "a..b",
        "central/",
        "a b",
        "-a",
        "x" * 64,
        "fe80::1%eth0",
    ],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="neither a DNS name nor an IP address"):
        checked_hosts(["central", host])


@pytest.mark.parametrize("host", ["::1", "*.example.org", ".".join(["x" * 30] * 4)])
def test_the_first_host_has_to_be_fit_for_a_name(host: str) -> None:
    with pytest.raises(ConfigError) as found:
        checked_hosts([host])
    assert f"sockstream certs server central {host}" in found.value.mend
