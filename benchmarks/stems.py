"""What convolutions over time before each stream are worth, by people who train in each fold: none of those who test.

    python benchmarks/stems.py configs/utd-mhad-student.yaml plain positions stems "stems, six blocks"
    python benchmarks/stems.py configs/utd-mhad-inertial.yaml plain stems --method late --epochs 60

Of the four people who train in a fold two train here, with a part of their clips to validate, and the two others are
scored. It goes on where it stopped, and writes results/stems-<configuration>/<device>-torch<version>-float32.md.
"""

import argparse
import dataclasses
import statistics
from pathlib import Path
from typing import Any

import torch

from sparsefuse import Config, train
from sparsefuse.files.rows import read_table, write_table
from sparsefuse.files.whole import write_text
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.shown import markdown_table

STEM = {"kind": "conv", "filters": 64, "stride": 1}
SMALL = {"pos_embed": {"scale": 0.1}}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "positions": SMALL,
    "stems": {**SMALL, "stem": STEM},
    "stems, stride 2": {**SMALL, "stem": {**STEM, "stride": 2}},
    "stems, six blocks": {**SMALL, "stem": STEM, "fusion_depth": 5},
}
"""name -> options of the method; `stem` of every modality"""


def main() -> None:
    """Trains what is missing, and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("variants", nargs="+", choices=VARIANTS)
    parser.add_argument("--manifest", type=Path, help="in place of the configuration's")
    parser.add_argument("--method", default="sft")
    parser.add_argument("--epochs", type=int, help="in place of the configuration's")
    parser.add_argument("--out", type=Path, default=Path("runs/stems"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    base = Config.load(given.config, **({"data": {"manifest": str(given.manifest)}} if given.manifest else {}))
    base = dataclasses.replace(base, method=given.method)
    if given.epochs:
        base = dataclasses.replace(base, train=dataclasses.replace(base.train, epochs=given.epochs))
    lines: list[tuple[Any, ...]] = []
    for name in given.variants:
        folder = given.out / given.config.stem / f"{given.method}-{name.replace(', ', '-').replace(' ', '-')}"
        runs = [trained(base, name, fold, folder) for fold in range(len(base.data.split.folds))]
        scores = [100 * run.test["top1"] for run in runs]
        each = " / ".join(f"{score:.1f}" for score in scores)
        lines.append((name, each, f"{statistics.fmean(scores):.1f}", f"{runs[0].cost.gmacs:.5f}"))
    table = markdown_table([("options", "top-1 %, by fold", "mean", "GMACs"), *lines], (":--", "--:", "--:", "--:"))
    told = f"{given.method}, one seed: of the people who train in a fold two train, two are scored."
    command = f"`python benchmarks/stems.py {given.config} ...`"
    version = ".".join(torch.__version__.split("+")[0].split(".")[:2])
    place = given.results / f"stems-{given.config.stem}" / f"cpu-torch{version}-float32.md"
    write_text(place, f"# {place.parent.name}\n\n{table}\n\n{told} {command}\n")
    print(table)


def trained(base: Config, name: str, fold: int, out: Path) -> Result:
    """A run of two of the people who train in a fold."""
    split = base.data.split.each_fold()[fold]
    manifest = Path(base.data.manifest)
    rows = read_table(manifest).rows
    people = sorted({row["group"] for row in rows} - set(split.test_groups))
    path = write_table(
        manifest.with_name(f"people-{'-'.join(people)}.csv"), [row for row in rows if row["group"] in people]
    )
    split = dataclasses.replace(
        split, folds=[], test_groups=people[:2], valid_by="stratified", fractions=(0.85, 0.15, 0.0)
    )
    own = dict(VARIANTS[name])
    if "stem" in own:
        own["stem"] = dict.fromkeys(streams(manifest, rows[0]), own["stem"])
    options = {**base.options, base.method: {**base.options.get(base.method, {}), **own}}
    data = dataclasses.replace(base.data, manifest=str(path), split=split)
    config = dataclasses.replace(base, data=data, options=options)
    run = train(config, out.with_name(f"{out.name}-fold{fold}"), name=name, resume=True, measured=False, shown=False)
    return RunFolder(run).read(Result)


def streams(manifest: Path, row: dict[str, str]) -> list[str]:
    """The columns whose cells are feature files beside the manifest."""
    return [name for name, cell in row.items() if (manifest.parent / cell.partition("#")[0]).is_file()]


if __name__ == "__main__":
    main()
