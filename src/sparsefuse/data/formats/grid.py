"""GRID: clips of six-word sentences; every word is a target of its own (`data.label=color` chooses one).

Cooke et al., An audio-visual corpus for speech perception and automatic speech recognition, 2006.
Layout: labels.csv (clip and the six words), clips/<clip>.mp4.
"""

from pathlib import Path

from sparsefuse.data.formats import demand, demand_columns, demand_names
from sparsefuse.data.formats._media import refer
from sparsefuse.files.rows import write_table

TARGETS = ("command", "color", "preposition", "letter", "digit", "adverb")


def prepare(source: Path, out: Path) -> Path:
    """Writes a manifest that points at the clips where they are; `sparsefuse extract` makes features of them."""
    labels, _ = demand("grid", source, "labels.csv", "clips")
    folder = refer(source / "clips", out)
    table = demand_columns(labels, "clip", *TARGETS)
    demand_names(labels, (row["clip"] for row in table))
    rows = [
        {
            "id": row["clip"],
            "video": f"{folder}/{row['clip']}.mp4",
            **{name: row[name] for name in TARGETS},
        }
        for row in table
    ]
    return write_table(out / "manifest.csv", rows)
