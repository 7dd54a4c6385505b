"""Bytes in, nearly the same bytes out."""

import random
import re

_NUMBERS = [0, 1, 2, 7, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1, 10**30]
_TEXTS = [b"nan", b"-1", b"1e999", b"inf", b"null", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b'"', b"#",
          b"../" * 4, b"[" * 3000, b"9" * 5000, b"\xc3\x28", "\u2028\u202e\ud7ff".encode(), b"a" * 20_000]  # fmt: skip


def mutated(rng: random.Random, content: bytes, others: list[bytes] | None = None) -> bytes:
    """One to five mutations of the content; `others` are what pieces may be taken from."""
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        content = rng.choice(_MUTATIONS)(rng, content, others or [content])
    return content


def _flip(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 4, 32)) if content else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _hole(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """A piece is zeros, as of a download that skipped a block."""
    start, end = _piece(rng, content)
    return content[:start] + bytes(end - start) + content[end:]


def _without(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    start, end = _piece(rng, content)
    return content[:start] + content[end:]


def _twice(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    start, end = _piece(rng, content)
    return content[:end] + content[start:end] * rng.choice((1, 2, 100)) + content[end:]


def _other(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """A piece of another input in the place of one."""
    start, end = _piece(rng, content)
    other = rng.choice(others)
    first, last = _piece(rng, other)
    return content[:start] + other[first:last] + content[end:]


def _text(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice(_TEXTS) + content[at:]


def _digits(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Another number in the place of one that is written out."""
    found = list(re.finditer(rb"\d+", content))
    if not found:
        return content
    match = rng.choice(found)
    return content[: match.start()] + str(rng.choice(_NUMBERS)).encode() + content[match.end() :]


def _number(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Another number in the place of a binary one."""
    width = rng.choice((1, 2, 4, 8))
    at = rng.randrange(len(content) + 1)
    value = rng.choice(_NUMBERS) % (1 << 8 * width)
    return content[:at] + value.to_bytes(width, rng.choice(("little", "big"))) + content[at + width :]


def _piece(rng: random.Random, content: bytes) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 4, 16, 64, 512, 4096)))


_MUTATIONS = (_flip, _cut, _hole, _without, _twice, _other, _text, _digits, _number)
