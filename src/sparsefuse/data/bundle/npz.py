"""A bundle in; one npz file per split and a manifest that names its arrays, so that it trains as it is, out."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sparsefuse.data.bundle import Bundle
from sparsefuse.data.manifest import Row
from sparsefuse.data.prepare import watched
from sparsefuse.files.rows import write_table


def write(bundle: Bundle, folder: Path) -> None:
    """Writes `<split>.npz` with an array `<modality>/<place>` per clip, and manifest.csv; holds one clip at a time."""
    cells = []
    for split, rows in bundle.rows.items():
        with _archive(folder / f"{split}.npz") as archive:
            lengths = {name: np.zeros(len(rows), np.int64) for name in bundle.features}
            for i, row in enumerate(watched(rows, f"writing {split}")):
                for name, x in bundle.arrays(row).items():
                    _add(archive, f"{name}/{i:06d}", x.numpy())
                    lengths[name][i] = len(x)
                cells.append(_cells(bundle, split, i, row))
            _add(archive, "ids", np.array([row.id for row in rows]))
            _add(archive, "labels", np.array([row.label for row in rows]))
            _add(archive, "targets", np.stack([bundle.labels.encode(row.label).numpy() for row in rows]))
            _add(archive, "classes", np.array(bundle.labels.classes, dtype=str))
            for name, counts in lengths.items():
                _add(archive, f"{name}_lengths", counts)
    write_table(folder / "manifest.csv", cells)


def _cells(bundle: Bundle, split: str, place: int, row: Row) -> dict[str, str]:
    """One row of the new manifest."""
    files = {name: f"{split}.npz#{name}/{place:06d}" if name in row.files else "" for name in bundle.features}
    return {"id": row.id, **files, **bundle.label_cells(row), "split": split, "group": row.group}


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        yield archive


def _add(archive: zipfile.ZipFile, name: str, values: np.ndarray) -> None:
    """One array, as `numpy.savez` would; with a fixed date, so that the same features give the same bytes."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(values), allow_pickle=False)
