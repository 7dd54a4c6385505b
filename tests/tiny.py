"""A tiny data set on disk, and the smallest configurations that train on it."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from sparsefuse.config import Config, Data, Train

FEATURES = {"rgb": 5, "sound": 4}
LONGEST = {"rgb": 4, "sound": 6}
OPTIONS = {
    "all": {"dim": 10, "num_heads": 2, "fusion_depth": 1, "unimodal_depth": 1, "cross_depth": 1, "num_bottlenecks": 2},
    "sft": {"keep": 2},
}
LABELS: dict[str, Callable[[int], str]] = {
    "class": lambda i: "abc"[i % 3],
    "multilabel": lambda i: ["a", "b", "a|b", "c|a"][i % 4],
    "heads": lambda i: ["take,plate", "put,cup", "wash,cup"][i % 3],
    "regression": lambda i: f"{i % 5 - 1.75:.2f}",
}


def write_set(folder: Path, counts: tuple[int, int, int] = (9, 4, 4), *, task: str = "class", seed: int = 0) -> Path:
    """Feature files and a manifest with a given split; clips have 2-4 rgb and 3-6 sound tokens that show their label.

    The second clip of every split lacks `rgb`. Those of task `heads` have the labels `verb` and `noun`.
    Ids are train0, train1, ..., valid0, ..., test0, ...
    """
    rng = np.random.default_rng(seed)
    (folder / "features").mkdir(parents=True, exist_ok=True)
    lines = [f"id,rgb,sound,{'verb,noun' if task == 'heads' else 'label'},split"]
    for split, count in zip(("train", "valid", "test"), counts, strict=True):
        for i in range(count):
            cells = []
            for name, width in FEATURES.items():
                length = int(rng.integers(LONGEST[name] - 2, LONGEST[name] + 1)) if i else LONGEST[name]
                values = rng.normal(size=(length, width)).astype(np.float32)
                values[:, i % 3] += 2
                file = f"features/{split}{i}-{name}.npy"
                if (i, name) == (1, "rgb"):
                    file = ""
                else:
                    np.save(folder / file, values)
                cells.append(file)
            lines.append(",".join([f"{split}{i}", *cells, LABELS[task](i), split]))
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def config(manifest: Path, method: str = "sft", *, options: dict[str, Any] | None = None, **train: Any) -> Config:
    """One layer of width 10, on the CPU, two epochs without mixup, in batches of 4; `train` changes that."""
    spec = {"epochs": 2, "batch_size": 4, "mixup_alpha": 0.0, "device": "cpu", **train}
    whole = {**OPTIONS, method: {**OPTIONS.get(method, {}), **(options or {})}}
    return Config(data=Data(manifest=str(manifest)), method=method, options=whole, train=Train(**spec))


def with_data(config: Config, **data: Any) -> Config:
    """The configuration with other settings under `data`."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **data))


def write_yaml(path: Path, config: Config) -> Path:
    """The configuration as a file for the command line (JSON is YAML)."""
    path.write_text(json.dumps(dataclasses.asdict(config)))
    return path


def spoilt(run: Path, copy: Path, values: dict[str, float]) -> Path:
    """A copy of the run of which one value of each of these tensors is another, whatever `checkpoint` would say."""
    shutil.copytree(run, copy)
    tensors = load_file(copy / "model.safetensors")
    for name, value in values.items():
        tensors[name].flatten()[-1] = value
    save_file(tensors, copy / "model.safetensors")
    return copy


def epochs(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, but for the time they took."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def skipped(run: Path) -> list[dict[str, str]]:
    """The lines of skipped.jsonl."""
    return [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]


def edit(manifest: Path, **cells: dict[str, str]) -> None:
    """Changes cells of the manifest: `edit(manifest, train0={"label": "z"})`."""
    header, *lines = (line.split(",") for line in manifest.read_text().splitlines())
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    rows = [row | cells.get(row["id"], {}) for row in rows]
    manifest.write_text("\n".join(",".join(line) for line in [header, *(row.values() for row in rows)]) + "\n")


def environment() -> dict[str, str]:
    """For subprocesses: one thread each, for the tests share the machine."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "200"}


TWO_VOICES = """
from torch import nn, tensor

from sparsefuse.layers.embed import Embed
from sparsefuse.model import FusionModel
from sparsefuse.tokens import HeadOutputs


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.said = nn.Parameter(tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))

    def forward(self, state):
        return self.head_outputs(state).logits.sum(1)

    def head_outputs(self, state):
        logits = self.said.expand(len(state.streams["rgb"].x), -1, -1)
        return HeadOutputs(logits, tensor([[0.75, 0.25]]).expand(len(logits), -1))


def build(features, num_classes, *, lengths=None):
    return FusionModel(Embed(features, 4), [nn.Identity()], Head(), features=features)
"""
