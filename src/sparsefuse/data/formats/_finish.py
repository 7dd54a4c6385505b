"""The last step of a recipe that converts streams: writes the manifest and skipped.jsonl."""

import logging
from collections.abc import Iterable
from pathlib import Path

from sparsefuse.data.shards import Shards
from sparsefuse.files.rows import write_table
from sparsefuse.files.skipped import Skip, Unusable, write_skipped

log = logging.getLogger(__name__)


def finish(out: Path, shards: Iterable[Shards], rows: list[dict[str, str]], skips: list[Skip], total: str) -> Path:
    """Writes open shards, skipped.jsonl and the manifest; returns the manifest. `total`: such as `2199 clips`.

    Raises Unusable if there is no row.
    """
    for each in shards:
        each.close()
    write_skipped(out / "skipped.jsonl", skips)
    if skips:
        log.warning("%d streams or clips cannot be used: see %s", len(skips), out / "skipped.jsonl")
    if not rows:
        raise Unusable(f"none of {total} could be used; {skips[0].reason}")
    return write_table(out / "manifest.csv", rows)
