"""Names, origins and tokens: who is let in, and who is not."""

from typing import Any

import pytest

from sparsefuse.serve.access import Access, is_loopback
from sparsefuse.serve.refusal import Refusal


def scope(server: str = "127.0.0.1", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http", "server": (server, 8000), "client": ("127.0.0.1", 5), "headers": pairs, "scheme": "http"}


def status(access: Access, **headers: str) -> int:
    try:
        access.caller(scope(**headers))
    except Refusal as refusal:
        return refusal.status
    return 200


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "LOCALHOST:1", "127.0.0.1", "127.8.0.1:80", "[::1]", "[::1]:8000"]
)
def test_names_of_loopback_are_ours_on_any_port(host: str) -> None:
    """A tunnel's port is another."""
    assert status(Access(), host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "evil.example#localhost", ""),
        *(
            "localhost@evil.example",
            "evil.example:80:80",
            "[::1].evil.example",
            "localhost:",
            "a b",
            "127.1",
            "0.0.0.0",
        ),
        *("localhost, evil.example", "localhost/evil", "\xe9", "192.168.1.9", "x" * 10**6),
    ],
)
def test_any_other_host_is_refused(host: str) -> None:
    """So a name of a stranger that leads to this address, by DNS rebinding, is of no use."""
    assert status(Access(), host=host) == 421
    assert status(Access()) == 421, "without a Host"


def test_a_refusal_does_not_repeat_a_long_host() -> None:
    with pytest.raises(Refusal) as error:
        Access().caller(scope(host="x" * 10**6))
    assert len(error.value.reason) < 200


def test_host_names_and_the_address_connected_to_are_ours() -> None:
    access = Access(host_names=("Birds.example", "fd00::7"))
    assert status(access, host="birds.example:8000") == 200
    assert status(access, host="[FD00::7]:8000") == 200
    assert status(access, host="www.birds.example") == 421
    Access().caller(scope("192.168.1.9", host="192.168.1.9:8000"))
    Access().caller(scope("::ffff:192.168.1.9", host="192.168.1.9"))


def test_a_page_may_ask_its_own_server_only() -> None:
    assert status(Access(), host="localhost:8000", origin="http://localhost:8000") == 200
    assert status(Access(), host="localhost", origin="http://localhost:80") == 200
    for origin in ("http://localhost:9000", "https://localhost:8000", "http://evil.example", "null", "file://", "x"):
        assert status(Access(), host="localhost:8000", origin=origin) == 403, origin


def test_an_allowed_origin_may_ask_and_is_named() -> None:
    access = Access(allow_origins=("https://Example.org",))
    assert access.caller(scope(host="localhost", origin="https://example.org")).origin == "https://example.org"
    assert access.caller(scope(host="localhost", origin="http://localhost")).origin == ""
    for origin in ("http://example.org", "https://example.org.evil.example", "https://example.org:8443"):
        assert status(access, host="localhost", origin=origin) == 403


def test_behind_a_proxy_its_host_and_scheme_count() -> None:
    access = Access(host_names=("birds.example",), behind_proxy=True)
    said = {"x_forwarded_host": "birds.example", "x_forwarded_proto": "https"}
    caller = access.caller(scope(host="localhost", origin="https://birds.example", **said))
    assert (caller.scheme, caller.origin) == ("https", "")
    assert status(access, host="localhost", origin="http://birds.example", **said) == 403
    assert status(access, host="localhost", x_forwarded_host="evil.example") == 421
    assert status(access, host="localhost", x_forwarded_proto="ftp") == 400
    assert status(access, host="localhost", x_forwarded_prefix="//evil.example") == 400
    strict = Access(host_names=("birds.example",))
    assert status(strict, host="localhost", origin="https://birds.example", **said) == 403
    assert status(strict, host="evil.example", x_forwarded_host="localhost") == 421


def test_the_nearest_proxy_has_the_last_word() -> None:
    """What a client wrote into the header itself stands before it."""
    access = Access(behind_proxy=True)
    assert access.caller(scope(host="localhost", x_forwarded_for="1.1.1.1, 9.9.9.9")).address == "9.9.9.9"
    assert access.caller(scope(host="localhost")).address == "127.0.0.1"
    assert Access().caller(scope(host="localhost", x_forwarded_for="9.9.9.9")).address == "127.0.0.1"


@pytest.mark.parametrize("given", ["Bearer secret", "bearer secret", "Bearer  secret "])
def test_the_right_token_is_let_in(given: str) -> None:
    Access(token="secret").check_token(scope(authorization=given))


@pytest.mark.parametrize(
    "given", ["", "secret", "Bearer", "Bearer secret2", "Bearer secre", "Basic secret", "Bearer \xe9"]
)
def test_a_wrong_token_is_not(given: str) -> None:
    with pytest.raises(Refusal, match="token is missing or wrong") as error:
        Access(token="secret").check_token(scope(authorization=given))
    assert error.value.status == 401
    assert "secret" not in error.value.reason
    Access().check_token(scope(authorization=given))  # none is wanted


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"host_names": ("a.example:80",)}, "--host-name is a.example:80, expected a name or address without a port"),
        ({"host_names": ("",)}, "--host-name is"),
        ({"allow_origins": ("example.org",)}, "--allow-origin is example.org, expected one such as https://"),
        ({"allow_origins": ("https://example.org/",)}, "--allow-origin"),
        ({"base_path": "models"}, "--base-path is models, expected a path such as"),
        ({"base_path": "//evil"}, "--base-path"),
        ({"token": "two words"}, "SPARSEFUSE_TOKEN has spaces"),
    ],
)
def test_rules_that_could_never_match_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Access(**given)


def test_loopback_is_known_by_address_and_name() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "a")] == [True] * 3 + [
        False
    ] * 3
