"""Errors that end a request: a status, and a readable reason."""

import math
from collections.abc import Mapping

from sparsefuse.shown import REASON, shown


class Refusal(Exception):
    """Ends a request. The reason goes to the client as `{"error": reason}`."""

    def __init__(
        self, status: int, reason: str, *, retry_after: float | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(reason)
        self.status, self.reason = status, shown(reason, REASON)
        self.headers = {
            **(headers or {}),
            **({} if retry_after is None else {"retry-after": str(math.ceil(retry_after))}),
        }


class ClientGone(Exception):
    """The client closed its connection before it had sent its request."""
