"""A bundle in, a folder that `datasets.load_from_disk` reads out."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparsefuse.data.bundle import Bundle
from sparsefuse.data.prepare import watched
from sparsefuse.extras import need

BATCH = 32
"""Clips that are in memory at a time."""


def write(bundle: Bundle, folder: Path) -> None:
    """Writes a DatasetDict: id, a list of N lists of F float32 per modality (None if missing), labels, and group."""
    datasets = need("datasets", "hub", "the format hf")
    shown = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()  # ours counts clips
    try:
        # What is generated goes to a cache first, from which the folder is written.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".cache") as cache:
            splits = {
                split: datasets.Dataset.from_generator(
                    _examples,
                    features=_features(datasets, bundle),
                    cache_dir=cache,
                    gen_kwargs={"bundle": bundle, "split": split},
                    split=split,
                    writer_batch_size=BATCH,
                    fingerprint=f"sparsefuse-{split}",
                )
                for split in bundle.rows
            }
            datasets.DatasetDict(splits).save_to_disk(str(folder))
            splits.clear()
    finally:
        if shown:
            datasets.enable_progress_bars()


def _features(datasets: Any, bundle: Bundle) -> Any:
    columns: dict[str, Any] = {"id": datasets.Value("string")}
    for name, width in bundle.features.items():
        columns[name] = datasets.Sequence(datasets.Sequence(datasets.Value("float32"), length=width))
    labels = bundle.labels
    for column, span in zip(bundle.columns, labels.groups.values(), strict=True):
        names = [labels.classes[i].removeprefix(f"{column}:") if labels.heads else labels.classes[i] for i in span]
        kind = datasets.Value("float64") if labels.task == "regression" else datasets.ClassLabel(names=names)
        columns[column] = datasets.Sequence(kind) if labels.task == "multilabel" else kind
    return datasets.Features({**columns, "group": datasets.Value("string")})


def _examples(bundle: Bundle, split: str) -> Iterator[dict[str, Any]]:
    for row in watched(bundle.rows[split], f"writing {split}"):
        arrays = {name: x.numpy() for name, x in bundle.arrays(row).items()}
        streams = {name: arrays.get(name) for name in bundle.features}
        yield {"id": row.id, **streams, **_targets(bundle, row.label), "group": row.group}


def _targets(bundle: Bundle, label: str) -> dict[str, Any]:
    """Label column -> a class's place in its column, places of several, or a number."""
    labels = bundle.labels
    if labels.task == "regression":
        return {bundle.columns[0]: float(label)}
    indices = labels.indices(label)
    if labels.task == "multilabel":
        return {bundle.columns[0]: sorted(set(indices))}
    starts = [span.start for span in labels.groups.values()]
    return {column: i - start for column, i, start in zip(bundle.columns, indices, starts, strict=True)}
