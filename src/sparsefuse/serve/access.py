"""Who may ask: the server's own names, the origins of pages, a token, and what a proxy in front says of a client."""

import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sparsefuse.serve.refusal import Refusal
from sparsefuse.shown import shown

TOKEN = "SPARSEFUSE_TOKEN"
"""The environment variable that holds the token."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d{1,5})?", re.ASCII | re.IGNORECASE)
_ORIGIN = re.compile(rf"https?://{_HOST.pattern}", re.ASCII | re.IGNORECASE)
_BASE = re.compile(r"(/[\w.~-]+)*", re.ASCII)


class Caller(NamedTuple):
    """Who asks, as this server or the proxy before it saw them."""

    address: str
    scheme: str
    base: str
    """the path under which the proxy shows this server; empty for none"""
    origin: str
    """another origin, which may read the answer; empty for none"""


@dataclass(frozen=True)
class Access:
    """Rules for requests. Raises ValueError for one that could never match."""

    host_names: tuple[str, ...] = ()
    """allowed as Host, besides those of loopback and the address that the client connected to"""
    allow_origins: tuple[str, ...] = ()
    """of pages of other servers, whose scripts may ask"""
    behind_proxy: bool = False
    """whether X-Forwarded-For, -Host, -Proto and -Prefix are believed"""
    base_path: str = ""
    token: str = ""
    """demanded of every request but for the page's own files; empty for none"""

    def __post_init__(self) -> None:
        for name in self.host_names:
            if not name or _name(name) != name.lower():
                raise ValueError(f"--host-name is {shown(name)}, expected a name or address without a port")
        for origin in self.allow_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"--allow-origin is {shown(origin)}, expected one such as https://example.org")
        if not _BASE.fullmatch(self.base_path):
            raise ValueError(f"--base-path is {shown(self.base_path)}, expected a path such as /models/birds")
        if not re.fullmatch("[!-~]*", self.token):
            raise ValueError(f"{TOKEN} has spaces or letters that no header can carry; choose another")

    def caller(self, scope: Mapping[str, Any]) -> Caller:
        """Who asks. Raises Refusal for a Host that is not this server's, and for a page of an unknown origin."""
        headers = _headers(scope)
        connection = scope.get("client") or ("", 0)
        address = self._forwarded(headers, "for") or connection[0]
        scheme = self._forwarded(headers, "proto") or scope.get("scheme", "http")
        base = self.base_path or self._forwarded(headers, "prefix").rstrip("/")
        host = self._forwarded(headers, "host") or headers.get("host", "")
        if scheme not in ("http", "https") or not _BASE.fullmatch(base):
            raise Refusal(400, "the proxy's X-Forwarded-Proto or X-Forwarded-Prefix is neither a scheme nor a path")
        if not self._is_ours(_name(host), (scope.get("server") or ("", 0))[0]):
            raise Refusal(421, f"this server is not {shown(host)}; --host-name gives it more names")
        origin = headers.get("origin", "")
        if not origin or _default_port(origin) == _default_port(f"{scheme}://{host}"):
            return Caller(address, scheme, base, "")
        if origin.lower() not in map(str.lower, self.allow_origins):
            raise Refusal(403, f"pages of {shown(origin)} may not ask this server; --allow-origin lets them")
        return Caller(address, scheme, base, origin)

    def check_token(self, scope: Mapping[str, Any]) -> None:
        """Raises Refusal for a request without the token."""
        kind, _, given = _headers(scope).get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self.token.encode())
        if self.token and not (right and kind.lower() == "bearer"):
            raise Refusal(401, "the token is missing or wrong; send it as Authorization: Bearer TOKEN",
                          headers={"www-authenticate": "Bearer"})  # fmt: skip

    def _forwarded(self, headers: Mapping[str, str], what: str) -> str:
        """The word of the nearest proxy, which is the last of several; empty without one."""
        value = headers.get(f"x-forwarded-{what}", "") if self.behind_proxy else ""
        return value.rpartition(",")[2].strip()

    def _is_ours(self, name: str, connected: str) -> bool:
        own = connected.removeprefix("::ffff:")  # of IPv4 on an IPv6 socket
        return bool(name) and (is_loopback(name) or name in (own, *map(str.lower, self.host_names)))


def is_loopback(host: str) -> bool:
    """Whether a name or address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _name(host: str) -> str:
    """A Host without its port and brackets, in small letters; empty if it is none."""
    if ":" in host and _is_address(host):
        return host.lower()
    match = _HOST.fullmatch(host)
    return match[1].strip("[]").lower() if match else ""


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _default_port(origin: str) -> str:
    """An origin in small letters, without the port that its scheme has anyway."""
    origin = origin.lower()
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")
