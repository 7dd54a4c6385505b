"""`sparsefuse export-features`: writes the data of a configuration as a folder for other tools.

`npz` is for numpy, and `hf` for the library `datasets`. docs/data-format.md has the layouts.
"""

import importlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from sparsefuse.config import Data
from sparsefuse.data.arrays import read_array
from sparsefuse.data.classes import read_class_lists
from sparsefuse.data.labels import Labels, task_of
from sparsefuse.data.manifest import JOIN, Row, read_manifest
from sparsefuse.data.prepare import prepare
from sparsefuse.data.split import split_rows
from sparsefuse.files.skipped import Skip, write_skipped

Format = Literal["npz", "hf"]


class Bundle(NamedTuple):
    """The data to export: rows whose features are still in files."""

    rows: dict[str, list[Row]]
    """split -> usable rows, in the manifest's order; splits without rows are absent"""
    root: Path
    labels: Labels
    columns: tuple[str, ...]
    """those that labels were joined of"""
    features: dict[str, int]
    """modality -> F"""
    skips: list[Skip]

    def arrays(self, row: Row) -> dict[str, torch.Tensor]:
        """Modality -> (N, F) float32, of those that the row has."""
        return {name: torch.from_numpy(read_array(ref, self.root)) for name, ref in row.files.items()}

    def label_cells(self, row: Row) -> dict[str, str]:
        """Label column -> its cell."""
        parts = [row.label] if len(self.columns) == 1 else row.label.split(JOIN)
        return dict(zip(self.columns, parts, strict=True))


def export_features(data: Data, root: Path, out: Path, format: Format) -> Bundle:
    """Writes the folder `out`, whole; `root` is the folder that the configuration's paths are relative to.

    Features go out as they are stored, as float32: not normalised, cut or resampled. What cannot be used is in
    `skipped.jsonl`. Raises FileExistsError when `out` has files, ValueError as `prepare` does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not empty; choose another folder, or remove it")
    writer = importlib.import_module(f"sparsefuse.data.bundle.{format}")
    manifest = read_manifest(
        root / data.manifest,
        label=data.label,
        separator=data.separator,
        modalities=data.modalities,
        group=data.group,
    )
    task = task_of(data.task, (row.label for row in manifest.rows), manifest.labels)
    splits = split_rows(manifest, data.split, task)
    lists = read_class_lists(data.classes, root, manifest.labels)
    prepared = prepare(
        splits,
        manifest.root,
        modalities=manifest.modalities,
        task=task,
        columns=manifest.labels,
        lists=lists,
        strict=data.strict,
    )
    rows = {split: part for split, part in prepared.rows.items() if part}
    bundle = Bundle(rows, manifest.root, prepared.labels, manifest.labels, prepared.features, prepared.skips)
    with _replacing_folder(out) as folder:
        writer.write(bundle, folder)
        write_skipped(folder / "skipped.jsonl", prepared.skips)
    return bundle


@contextmanager
def _replacing_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to write to; on success it takes its place, on an error it is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            path.rmdir()  # it is empty
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
