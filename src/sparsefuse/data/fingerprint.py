"""Fingerprints of splits: rows in, a count and a hash per split out; two of these in, what changed out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsefuse.data.manifest import Row
from sparsefuse.shown import counted


@dataclass(frozen=True)
class Fingerprint:
    """One split, as model.json and result.json hold it."""

    count: int
    hash: str
    """of its ids and labels, in any order"""


def fingerprints(rows: Mapping[str, Sequence[Row]]) -> dict[str, Fingerprint]:
    """Split -> how many usable clips it has, and a hash that other clips or labels change."""
    return {split: Fingerprint(len(part), _hash(part)) for split, part in rows.items()}


def difference(before: Mapping[str, Fingerprint], now: Mapping[str, Fingerprint]) -> str:
    """`train 9 -> 10 clips, test 4 clips with other ids or labels`, over the splits of `now`; empty if none."""
    found = []
    for split, new in now.items():
        old = before.get(split, Fingerprint(0, ""))
        if old.count != new.count:
            found.append(f"{split} {old.count} -> {new.count} clips")
        elif old.hash != new.hash:
            found.append(f"{split} {counted(new.count, 'clip')} with other ids or labels")
    return ", ".join(found)


def _hash(rows: Sequence[Row]) -> str:
    facts = sorted((row.id, row.label) for row in rows)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
