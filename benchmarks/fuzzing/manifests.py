"""Manifests, as CSV and JSONL, in several encodings; some are wide, deep or sparse."""

import json
import random
from pathlib import Path

from fuzzing._bytes import mutated
from sparsefuse.data.labels import Labels
from sparsefuse.data.manifest import read_manifest
from sparsefuse.files.skipped import Unusable

EXPECTED = (ValueError, Unusable, FileNotFoundError)
_ROWS = [{"id": f"clip{n}", "rgb": f"rgb/{n}.npy", "sound": f"s/{n}.npy#a", "label": "caf\u00e9|b", "split": "train"}
         for n in range(6)]  # fmt: skip
_CSV = "\n".join([",".join(_ROWS[0]), *(",".join(row.values()) for row in _ROWS), '"q, ""x""",a.npy,,2.5,val', ""])
_JSONL = "\n".join([*map(json.dumps, _ROWS), '{"id": 3, "rgb": null, "label": ["a", 1]}', ""])
_ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "utf-7")


def make(rng: random.Random, folder: Path) -> Path:
    """A table, mutated."""
    suffix, text = rng.choice([("csv", _CSV), ("jsonl", _JSONL)])
    if rng.random() < 0.01:
        suffix, text = _odd(rng)
    path = folder / f"manifest.{suffix}"
    content = text.encode(rng.choice(_ENCODINGS))
    path.write_bytes(mutated(rng, content) if rng.random() < 0.95 else content)
    return path


def _odd(rng: random.Random) -> tuple[str, str]:
    """Large where no manifest is."""
    count = rng.choice((1000, 10_000, 100_000))
    return rng.choice([
        ("csv", "id,label," + ",".join(f"c{n}" for n in range(count)) + "\na,b" + ",x.npy" * count + "\n"),
        ("jsonl", "".join(json.dumps({"id": n, f"c{n}": "x.npy"}) + "\n" for n in range(count // 10))),
        ("jsonl", '{"id": ' + "[" * count + "]" * count + "}\n"),
        ("jsonl", '{"id": ' + '{"a":' * count + "1" + "}" * count + "}\n"),
        ("jsonl", '{"id": ' + "9" * count + "}\n"),
        ("csv", "id,rgb,label\n" + "a" * count + ",x.npy,b\n"),
        ("csv", "id,rgb,label\na,b,c,d\n" + '"' + "\n" * count),
    ])  # fmt: skip


def attempt(path: Path) -> None:
    """As training reads it."""
    rows = read_manifest(path).rows
    Labels.from_rows([row.label for row in rows if row.label])
