"""Which features and training suit GRID colour, by clips that neither train nor test: one variant after another.

    sparsefuse prepare grid ../shared/data/grid --out runs/grid/clips
    python benchmarks/grid_color.py runs/grid/clips/manifest.csv --seeds 1 small stems "stems, three blocks"

The test clips of configs/grid-color.yaml are left out before anything is trained. With each seed another quarter of the
rest, of every colour in proportion, validates. It goes on where it stopped, and writes what there is to
results/grid-color-variants/<device>-torch<version>-float32.{csv,md}.
"""

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from sparsefuse import Config, extract, train
from sparsefuse.config import Split
from sparsefuse.data.manifest import read_manifest
from sparsefuse.data.split import split_rows
from sparsefuse.files.rows import csv_text, read_table, write_table
from sparsefuse.files.whole import write_text
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result

BASE = Path("configs/grid-color.yaml")
SMALL = {"sft": {"unimodal_depth": 2, "fusion_depth": 4, "keep": {"picture": 25, "sound": 50}}, "all": {"drop": 0.1}}
"""six blocks in place of twelve"""
THREE = {**SMALL["sft"], "unimodal_depth": 1, "fusion_depth": 2}
WORDS = "color+command+preposition+letter+digit+adverb"
FAST = {"lr": 2e-3}
FLIP = {"pictures": {"picture": {"height": 28, "width": 20, "channels": 1, "flip": 0.5}}}
OVER_TIME = {"kind": "conv", "filters": 64, "depth": 2, "stride": 1}
ROWS = {
    "sound": {"kind": "conv", "height": 64, "planes": 9, "filters": 16},
    "picture": {"kind": "conv", "height": 14, "width": 20, "planes": 2, "filters": 16},
}
"""convolutions over rows and columns of each picture, and over bins and moments of the spectrogram"""
NONE: Mapping[str, Any] = MappingProxyType({})


class Variant(NamedTuple):
    """What differs from configs/grid-color.yaml."""

    features: Mapping[str, Mapping[str, Any]] = NONE
    data: Mapping[str, Any] = NONE
    train: Mapping[str, Any] = NONE
    options: Mapping[str, Any] = NONE


def stemmed(stem: Mapping[str, Any], sft: Mapping[str, Any], **train: Any) -> Variant:
    """Stems and small positions, pictures flipped."""
    every = {"drop": 0.1, "pos_embed": {"kind": "learned", "scale": 0.1}, "stem": dict(stem)}
    return Variant(data=FLIP, train={**FAST, **train}, options={"all": every, "sft": dict(sft)})


BOTH = {"sound": OVER_TIME, "picture": OVER_TIME}
VARIANTS = {
    "plain": Variant(),
    "small": Variant(train=FAST, options=SMALL),
    "whole": Variant(data={"crop": 0.0}, train=FAST, options=SMALL),
    "whole, words": Variant(data={"crop": 0.0, "label": WORDS}, train=FAST, options=SMALL),
    "sound stem": stemmed({"sound": OVER_TIME}, SMALL["sft"]),
    "stems": stemmed(BOTH, SMALL["sft"]),
    "stems, three blocks": stemmed(BOTH, THREE),
    "stems, cosine": stemmed(BOTH, THREE, epochs=90, schedule="cosine", warmup_epochs=2),
    "stems of rows": stemmed(ROWS, {**THREE, "keep": {"picture": 25, "sound": 25}}),
}
"""name -> a variant"""


def main() -> None:
    """Trains what is missing, and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("variants", nargs="+", choices=VARIANTS)
    parser.add_argument("--out", type=Path, default=Path("runs/grid/variants"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    base = Config.load(BASE)
    for seed in range(given.seeds):
        for name in given.variants:
            trained(base, VARIANTS[name], given.manifest, given.out, name, seed)
    write(given.out, given.results)


def trained(base: Config, variant: Variant, manifest: Path, out: Path, name: str, seed: int) -> None:
    """A run of a variant on other validation clips with each seed, never tested."""
    assert isinstance(base.features, dict)
    specs = {stream: {**spec, **variant.features.get(stream, {})} for stream, spec in base.features.items()}
    place = "features" + "".join(f"-{key}" for key in variant.features)
    made = extract(manifest, out / place, features=specs)
    config = Config.load(
        base,
        method="sft",
        seed=seed,
        features=specs,
        data={"manifest": str(without_test(base, made.manifest, seed)), "split": {"by": "given"}, **variant.data},
        train={"replay": 0, "patience": base.train.epochs, **variant.train},
        options=variant.options or base.options,
    )
    train(config, out / f"{name.replace(', ', '-').replace(' ', '-')}-seed{seed}", name=name, resume=True,
          measured=False, tested=False, shown=False)  # fmt: skip


def without_test(base: Config, manifest: Path, seed: int) -> Path:
    """A manifest beside the other, with a column `split`, of the clips that do not test."""
    kept = split_rows(read_manifest(manifest, label=base.data.label), base.data.split, "class")
    rest = {row.id for name in ("train", "valid") for row in kept[name]}
    path = manifest.parent / f"without-test-{seed}.csv"
    rows = [row for row in read_table(manifest).rows if row["id"] in rest]
    listing = read_manifest(write_table(path, rows), label=base.data.label)
    quarter = Split(by="stratified", fractions=(0.75, 0.25, 0.0), seed=seed)
    split = {row.id: name for name, part in split_rows(listing, quarter, "class").items() for row in part}
    return write_table(path, [row | {"split": split[row["id"]]} for row in rows])


def write(out: Path, results: Path) -> None:
    """The table of all runs that ended."""
    found: dict[str, list[Result]] = {}
    for path in sorted(out.glob("*-seed*")):
        if (result := RunFolder(path).get(Result)) is not None:
            found.setdefault(result.name, []).append(result)
    rows: list[list[Any]] = [["variant", "seed", "top1", "loss", "best epoch", "GMACs"]]
    lines = ["| variant | n | top-1 % | GMACs |", "|:--|--:|--:|--:|"]
    for name, runs in found.items():
        scores = [run.valid.get("top1_color", run.valid["top1"]) for run in runs]
        for run, score in zip(runs, scores, strict=True):
            rows.append([name, run.seed, score, run.valid["loss"], run.best_epoch, run.cost.gmacs])
        spread = f" ± {100 * statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
        lines.append(
            f"| {name} | {len(runs)} | {100 * statistics.fmean(scores):.1f}{spread} | {runs[0].cost.gmacs:.4f} |"
        )
    version = ".".join(torch.__version__.split("+")[0].split(".")[:2])
    place = results / "grid-color-variants" / f"cpu-torch{version}-float32"
    write_text(Path(f"{place}.csv"), csv_text(rows))
    note = "GRID colour, sft: 420 clips train, 140 validate, none tests; another division with each seed. "
    note += "`python benchmarks/grid_color.py`."
    write_text(Path(f"{place}.md"), "\n".join(["# grid-color-variants", "", *lines, "", note, ""]))


if __name__ == "__main__":
    main()
