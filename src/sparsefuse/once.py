"""Log lines that a command needs once, however often it comes by."""

import logging
from functools import lru_cache


@lru_cache
def log_once(log: logging.Logger, text: str, level: int = logging.INFO) -> None:
    """Logs the text, unless this process has: a command reads its manifest at every stage."""
    log.log(level, "%s", text)
