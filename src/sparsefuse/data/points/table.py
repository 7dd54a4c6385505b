"""The manifest of a task on clouds: a row per scene, with columns of its cloud, its cameras and its boxes."""

import logging
from collections.abc import Mapping
from pathlib import Path

from sparsefuse.config import Data, Split
from sparsefuse.config.points import Points
from sparsefuse.data.manifest import Manifest, Row, read_manifest
from sparsefuse.data.pixels.table import split_pictures
from sparsefuse.errors import unknown
from sparsefuse.files.allowed import check_named
from sparsefuse.files.rows import numbered, read_table

log = logging.getLogger(__name__)


def read_rows(data: Data, points: Points, root: Path) -> Manifest:
    """The manifest; a row's label is the file of its boxes, its modalities are the cloud and, if there is the column,
    the cameras. Raises FileNotFoundError or ValueError."""
    path = root / data.manifest
    columns = numbered(read_table(path)).columns
    for name, column in (("cloud", points.cloud), ("boxes", points.boxes)):
        if column not in columns:
            raise ValueError(f"{path}: {unknown('column', column, columns)}; points.{name} names the column")
    names = [points.cloud]
    if points.cameras in columns:
        names.append(points.cameras)
    elif points.cameras != Points().cameras:
        raise ValueError(f"{path}: {unknown('column', points.cameras, columns)}; points.cameras names the column")
    manifest = read_manifest(path, label=points.boxes, modalities=names, group=data.group)
    check_named(path, ((row.id, points.boxes, row.label) for row in manifest.rows if row.label))
    return manifest


def split_scenes(manifest: Manifest, split: Split) -> Mapping[str, list[Row]]:
    """Rows by split; files of boxes are no classes, so a stratified split is drawn at random."""
    return split_pictures(manifest, split)
