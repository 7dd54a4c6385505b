"""Taskonomy: views of buildings in some twenty kinds of pictures, to translate between them.

Zamir et al., Taskonomy: disentangling task transfer learning, 2018. Layout: files point_<x>_view_<y>_domain_<z>.png in
folders rgb/ depth_zbuffer/ normal/ edge_texture/ reshading/ ..., with a folder per building below or above; a list of
buildings, train_val_test_<size>.csv (id, train, val, test), if there is one.
"""

import re
from pathlib import Path

from sparsefuse.data.formats import demand_columns
from sparsefuse.data.formats._media import refer, walk
from sparsefuse.data.formats._scenes import finish_scenes
from sparsefuse.errors import unknown
from sparsefuse.files.skipped import Skip

_NAME = re.compile(r"(?P<view>point_\d+_view_\d+)_domain_(?P<domain>\w+)\.(?:png|jpg|npy)", re.IGNORECASE)
_DEPTH = {"kind": "depth", "unit": 1 / 512, "invalid": 65535.0}
_GRAY = ("edge_texture", "edge_occlusion", "keypoints2d", "keypoints3d", "reshading")
"""some have 16 bits, but are no depth"""
DOMAINS = {
    "depth_zbuffer": _DEPTH,
    "depth_euclidean": _DEPTH,
    "normal": {"kind": "normal"},
    **{name: {"kind": "gray"} for name in _GRAY},
}
"""what the pictures of a domain hold; the others are colours"""


def prepare(source: Path, out: Path, *, target: str = "rgb", domains: str = "", buildings: str = "") -> Path:
    """Writes a manifest that points at the pictures where they are, a column per domain, and translate.yaml.

    `target`: the domain to translate to. `domains`: those to translate from, separated by commas; else all others.
    `buildings`: the list of splits, if there are several. A view without the target is in skipped.jsonl. The group is
    the building, by which rows are split without a list. Depth is 1/512 m a step, and 65535 was not measured.
    """
    views: dict[str, dict[str, Path]] = {}
    for path in walk(source):
        if match := _NAME.fullmatch(path.name):
            domain = match["domain"].lower()
            folders = [part for part in path.relative_to(source).parts[:-1] if part.lower() != domain]
            building = folders[-1] if folders else ""
            views.setdefault(f"{building}/{match['view']}".lstrip("/"), {})[domain] = path
    found = sorted({domain for files in views.values() for domain in files})
    if not found:
        raise FileNotFoundError(f"taskonomy: {source} has no files point_<x>_view_<y>_domain_<z>.png, in no folder")
    chosen = [name.strip() for name in domains.split(",")] if domains else [name for name in found if name != target]
    for name in [target, *chosen]:
        if name not in found:
            raise ValueError(f"taskonomy: {unknown('domain', name, found)}")
    splits = _splits(source, buildings)
    rows, skips = [], []
    for id, files in sorted(views.items()):
        building = id.rpartition("/")[0]
        if target not in files:
            skips.append(Skip(id, "", f"there is no {target} of it"))
        elif splits and building not in splits:
            skips.append(Skip(id, "", "its building is in no split of the list"))
        else:
            place = {"split": splits[building]} if splits else {}
            cells = {name: refer(files[name], out) if name in files else "" for name in [*chosen, target]}
            rows.append({"id": id, **place, "group": building, **cells})
    more = {"target": DOMAINS.get(target, {"kind": "color"})}
    return finish_scenes("taskonomy", out, rows, skips, label=target, task="translate", streams=DOMAINS, more=more)


def _splits(source: Path, buildings: str) -> dict[str, str]:
    """Building -> split."""
    lists = sorted(source.glob("train_val_test_*.csv"))
    if buildings and buildings not in [path.name for path in lists]:
        raise ValueError(f"taskonomy: {unknown('list', buildings, [path.name for path in lists])}")
    chosen = [path for path in lists if not buildings or path.name == buildings]
    if len(chosen) > 1:
        raise ValueError(f"taskonomy: {source} has {', '.join(path.name for path in lists)}; name one as buildings")
    splits = {}
    for path in chosen:
        for row in demand_columns(path, "id", "train", "val", "test"):
            for split, column in _COLUMNS.items():
                if row[column].lower() in ("1", "true"):
                    splits[row["id"]] = split
    return splits


_COLUMNS = {"train": "train", "valid": "val", "test": "test"}
