"""Names of files that are written for what is called anything."""

import hashlib
import re


def file_name(name: str, taken: set[str]) -> str:
    """A name that is no path, and that no other scene has."""
    plain = re.sub(r"[^\w.-]+", "_", name).strip(".")[:100]
    if plain != name or plain.lower() in taken:
        plain = f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    taken.add(plain.lower())
    return plain
