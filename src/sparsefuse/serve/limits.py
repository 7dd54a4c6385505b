"""The limits of a server: those a user sets, and those derived from them."""

from dataclasses import dataclass, fields

from sparsefuse.parallel.cores import cores

IDLE_SECONDS = 10.0
"""How long a client may be silent before its headers and body are complete."""
WAITING = 4
"""Waiting requests per processed one."""
JSON_MB = 1.0
"""The largest body of requests without a clip."""


@dataclass(frozen=True)
class ServeLimits:
    """Limits of size, time and number. Raises ValueError for one out of range."""

    max_mb: float = 50.0
    """MB (10**6 bytes) of a request"""
    max_seconds: float = 120.0
    """of a media file"""
    concurrency: int = 8
    """requests that are processed at a time"""
    timeout: float = 60.0
    """seconds from the first byte to the answer"""
    batch: int = 16
    """most clips in one batch of the model"""
    wait_ms: float = 5.0
    """how long the first clip of a batch waits for others"""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value >= 0 if field.name == "wait_ms" else value > 0):
                raise ValueError(f"--{field.name.replace('_', '-')} is {value}, expected more than 0")

    @property
    def max_bytes(self) -> int:
        """The largest body."""
        return int(self.max_mb * 1e6)

    @property
    def places(self) -> int:
        """Requests that are processed or wait; more are refused."""
        return self.concurrency * (1 + WAITING)

    @property
    def readers(self) -> int:
        """Processes that read files."""
        return min(self.concurrency, cores())

    @property
    def idle(self) -> float:
        """Seconds a client may be silent."""
        return min(IDLE_SECONDS, self.timeout)
