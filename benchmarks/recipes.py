"""What each part of a recipe for few clips brings on a person whom training has not seen, and which epoch to keep.

    sparsefuse prepare utd_mhad ../shared/data/utd_mhad --out runs/utd-mhad/features
    python benchmarks/recipes.py parts     each part on in half of the runs; --method concat, --passes 2 for more runs
    python benchmarks/recipes.py whole     the recipes `paper` and `small` as wholes

Of persons 1-4 of UTD-MHAD two train, one validates, one is scored: twelve pairs. Persons 5 and 6, who test in other
experiments, are in none of it. Which parts are on in a run, a design of Plackett and Burman (1946) and its complement
say, so that every run says something on every part. It goes on where it stopped; `--table` writes only
results/recipes-utd-mhad/cpu-torch<ver>-float32.{csv,md}, of the runs that are there.
"""

import argparse
import itertools
import json
import logging
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from sparsefuse import metrics
from sparsefuse.config import Config
from sparsefuse.data.batches import collate
from sparsefuse.data.clips import Clips, load_clips
from sparsefuse.files import checkpoint
from sparsefuse.files.rows import csv_text, read_table, write_table
from sparsefuse.files.whole import read_json, write_text
from sparsefuse.model import FusionModel
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.training.train import new_model, train

PAIRS = list(itertools.permutations("1234", 2))
"""who is scored, who validates"""
EPOCHS, LAST = 30, 8
"""of a run; and those whose weights the stochastic average is the mean of"""
BASE: dict[str, Any] = {
    "data": {"resample": {"inertial": 48, "skeleton": 24, "depth": 24}},
    "options": {
        "sft": {"unimodal_depth": 1, "fusion_depth": 2, "keep": {"inertial": 12, "skeleton": 8, "depth": 6}},
        "concat": {"fusion_depth": 3},
    },
    "train": {"epochs": EPOCHS, "lr": 2e-3, "ema": 0.98, "replay": 0, "save_minutes": 1000.0},
}
"""Small models. The running mean of the weights changes no step: weights are scored with it and without."""
AXES = {
    "inertial": {"axial": [1]},
    "skeleton": {"about": "y", "swap": [[i, i + 4] for i in (4, 5, 6, 7, 12, 13, 14, 15)]},
}
"""Accelerometer and gyroscope on a wrist, however they are worn; a room's second axis is its height. Joints 4 to 7 and
12 to 15 are the left arm and leg, four further on are the right ones."""
BANDS = {"freq": 0, "time": 6, "time_masks": 2}
PARTS: dict[str, dict[str, Any]] = {
    "noise 0.2": {"data": {"noise": 0.2}},
    "crop 0.2": {"data": {"crop": 0.2}},
    "time_warp 0.3": {"data": {"time_warp": 0.3}},
    "rotate 15": {"data": {"axes": AXES, "rotate": 15.0}},
    "scale 0.2": {"data": {"scale": 0.2}},
    "modality_dropout 0.3": {"data": {"modality_dropout": 0.3}},
    "token_dropout 0.15": {"data": {"token_dropout": 0.15}},
    "bands of 0-6 tokens": {"data": {"spec_augment": dict.fromkeys(("depth", "inertial", "skeleton"), BANDS)}},
    "label_smoothing 0.1": {"train": {"label_smoothing": 0.1}},
    "weight_decay 0.2": {"train": {"weight_decay": 0.2}},
    "no mixup": {"train": {"mixup_alpha": 0.0}},
}
"""name -> what differs from the base"""
WHOLE: dict[str, dict[str, Any]] = {
    "paper": {"recipe": "paper"},
    "small": {"recipe": "small", "data": {"scale": 0.0}},
    "small, scale 0.2": {"recipe": "small", "data": {"scale": 0.2}},
}
"""name -> a recipe, and what differs from it"""


class Cell(NamedTuple):
    """One run."""

    method: str
    held_out: str
    valid: str
    seed: int
    parts: tuple[str, ...]
    """those that are on"""
    recipe: str = ""
    """in place of parts"""

    @property
    def name(self) -> str:
        on = self.recipe or "".join(str(int(part in self.parts)) for part in PARTS)
        return f"{self.method}-{self.held_out}{self.valid}-seed{self.seed}-{on}".replace(", ", "-").replace(" ", "-")


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["parts", "whole"], nargs="?", default="parts")
    parser.add_argument("--method", default="sft")
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--manifest", type=Path, default=Path("runs/utd-mhad/features/manifest.csv"))
    parser.add_argument("--runs", type=Path, default=Path("runs/utd-mhad/recipes"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("sparsefuse").setLevel(logging.ERROR)
    wanted = {"parts": cells, "whole": whole}[options.what](options.method, options.passes)
    for cell in wanted if not options.table else ():
        file = options.runs / f"{cell.name}.json"
        if not file.exists():
            score = scored_whole if cell.recipe else scored
            found = score(cell, options.manifest, options.runs / "run")
            write_text(file, json.dumps(cell._asdict() | found))
            print(cell.name, {kind: round(values[-1], 3) for kind, values in found.items()}, flush=True)
    found = [read_json(file) for file in sorted(options.runs.glob("*.json"))]
    version = ".".join(torch.__version__.split("+")[0].split(".")[:2])
    place = options.results / "recipes-utd-mhad" / f"cpu-torch{version}-float32"
    write_text(Path(f"{place}.csv"), csv_text(table(found)))
    write_text(Path(f"{place}.md"), page(found))


def design() -> list[list[bool]]:
    """Twelve runs, in which every one of eleven parts, and every pair, is on and off equally often."""
    first = [c == "+" for c in "++-+++---+-"]
    return [*(first[-i:] + first[:-i] for i in range(len(first))), [False] * len(first)]


def cells(method: str, passes: int) -> list[Cell]:
    """The runs, each with its complement beside it, on the same pair of persons; another pair in every pass."""
    found = []
    for seed in range(passes):
        for i, row in enumerate(design()):
            held_out, valid = PAIRS[(i + 5 * seed) % len(PAIRS)]
            for on in (row, [not one for one in row]):
                parts = tuple(part for part, there in zip(PARTS, on, strict=True) if there)
                found.append(Cell(method, held_out, valid, seed, parts))
    return found


def whole(method: str, passes: int) -> list[Cell]:
    """Runs of both recipes on the same pairs of persons, each person scored once in a pass."""
    found = []
    for seed in range(passes):
        for i in range(4):
            held_out, valid = "1234"[i], "1234"[(i + 1 + seed) % 4]
            found += [Cell(method, held_out, valid, seed, (), recipe) for recipe in WHOLE]
    return sorted(found, key=lambda cell: cell.recipe == [*WHOLE][-1])


def scored_whole(cell: Cell, manifest: Path, run: Path) -> dict[str, list[float]]:
    """Top-1 on the held-out person of what a user of the recipe gets: the epoch that the validating person chose."""
    shutil.rmtree(run, ignore_errors=True)
    config = Config.load(
        method=cell.method,
        seed=cell.seed,
        recipe=WHOLE[cell.recipe]["recipe"],
        data=BASE["data"] | WHOLE[cell.recipe].get("data", {}) | {"manifest": str(split_of(cell, manifest))},
        train={"replay": 0},
        options=BASE["options"],
    )
    train(config, run, measured=False, shown=False)
    result = RunFolder(run).read(Result)
    return {"kept": [result.test["top1"]], "epoch": [float(result.best_epoch)]}


def scored(cell: Cell, manifest: Path, run: Path) -> dict[str, list[float]]:
    """By epoch: top-1 on the held-out person of the weights' running mean, and loss and top-1 of this mean on the
    validating person. At the end top-1 of the weights, and of the mean over those of the last epochs."""
    shutil.rmtree(run, ignore_errors=True)
    changes = [PARTS[part] for part in cell.parts]
    data, spec = (
        {k: v for change in changes for k, v in change.get(section, {}).items()} for section in ("data", "train")
    )
    data |= {"manifest": str(split_of(cell, manifest))}
    config = Config.load(
        method=cell.method,
        seed=cell.seed,
        data=BASE["data"] | data,
        train=BASE["train"] | spec,
        options=BASE["options"],
    )
    judge = Judge(config, load_clips(config.data, Path()))
    train(config, run, measured=False, tested=False, shown=False, stop=judge.after_epoch)
    epochs = RunFolder(run).epochs()
    valid = {name: [epoch.scores[f"valid_{name}"] for epoch in epochs] for name in ("loss", "top1")}
    return {**judge.found, "valid_loss": valid["loss"], "valid_top1": valid["top1"]}


class Judge:
    """Scores a run on the held-out person after every epoch, without the training loop's knowledge."""

    def __init__(self, config: Config, clips: Clips):
        held_out = clips.splits["test"]
        self.batch = collate([held_out[i] for i in range(len(held_out))], clips.features)
        self.model = new_model(config, clips)
        self.mean, self.last = AveragedModel(self.model), AveragedModel(self.model)
        self.found: dict[str, list[float]] = {kind: [] for kind in KINDS}

    def after_epoch(self, folder: Path) -> bool:
        """What `train` calls `stop`; it never does."""
        tensors = checkpoint.load(RunFolder(folder).checkpoint).tensors
        checkpoint.restore_model(self.mean, tensors, "mean/")
        self.found["ema"].append(self.top1(self.mean.module))
        epoch = len(self.found["ema"])
        if epoch > EPOCHS - LAST:
            checkpoint.restore_model(self.model, tensors)
            self.last.update_parameters(self.model)
        if epoch == EPOCHS:
            self.found["weights"].append(self.top1(self.model))
            self.found["swa"].append(self.top1(self.last.module))
        return False

    @torch.inference_mode()
    def top1(self, model: FusionModel) -> float:
        """Of the held-out person's clips."""
        logits = model.eval()(self.batch.tokens).logits
        return metrics.scores(logits, self.batch.labels, "class")["top1"]


def split_of(cell: Cell, manifest: Path) -> Path:
    """A manifest beside the other, of the four persons, with a column `split`."""
    splits = {cell.held_out: "test", cell.valid: "valid"}
    rows = [row | {"split": splits.get(row["group"], "train")} for row in read_table(manifest).rows]
    path = manifest.parent / f"recipes-{cell.held_out}{cell.valid}.csv"
    return write_table(path, [row for row in rows if row["group"] in "1234"])


KINDS = {
    "weights": "the weights after the last epoch",
    "ema": "their running mean (0.98 a step)",
    "swa": f"the mean of the last {LAST} epochs' weights",
}


def smooth(values: list[float], over: int = 5) -> list[float]:
    """The mean of each value and those before it, `over` in all."""
    return [statistics.fmean(values[max(0, i - over + 1) : i + 1]) for i in range(len(values))]


RULES: dict[str, Callable[[list[float], list[float]], int]] = {
    "lowest loss": lambda loss, top1: loss.index(min(loss)),
    "lowest loss, mean of 5 epochs": lambda loss, top1: smooth(loss).index(min(smooth(loss))),
    "highest top-1": lambda loss, top1: top1.index(max(top1)),
    "highest top-1, mean of 5 epochs": lambda loss, top1: smooth(top1).index(max(smooth(top1))),
    "last epoch": lambda loss, top1: len(loss) - 1,
}
"""by the validating person's loss and top-1 of every epoch, which to keep"""


def table(found: list[dict[str, Any]]) -> list[list[Any]]:
    """A line per run: who, what was on, and what came out."""
    rows: list[list[Any]] = [["method", "held_out", "valid", "seed", "parts", *KINDS, *RULES, "as the recipe keeps"]]
    for cell in found:
        if cell["recipe"]:
            who = [cell["method"], cell["held_out"], cell["valid"], cell["seed"], f"recipe {cell['recipe']}"]
            rows.append([*who, *[""] * (len(KINDS) + len(RULES)), cell["kept"][-1]])
            continue
        kept = [rule(cell["valid_loss"], cell["valid_top1"]) for rule in RULES.values()]
        who = [cell["method"], cell["held_out"], cell["valid"], cell["seed"], " + ".join(cell["parts"]) or "none"]
        rows.append([*who, *(cell[kind][-1] for kind in KINDS), *(cell["ema"][epoch] for epoch in kept), ""])
    return rows


def effects(found: list[dict[str, Any]], kind: str) -> dict[str, tuple[float, float]]:
    """Part -> what it brings, and the standard error: least squares with a constant for who is scored and for who
    validates, for the method and the seed."""
    who = [(key, cell[key]) for key in ("held_out", "valid", "method", "seed") for cell in found]
    blocks = sorted(set(who), key=str)
    rows = [[*(c[key] == value for key, value in blocks), *(part in c["parts"] for part in PARTS)] for c in found]
    x, y = np.array(rows, float), np.array([c[kind][-1] for c in found])
    inverse = np.linalg.pinv(x.T @ x)
    fitted = inverse @ x.T @ y
    freedom = len(y) - np.linalg.matrix_rank(x)
    variance = ((y - x @ fitted) ** 2).sum() / max(freedom, 1)
    errors = np.sqrt(variance * inverse.diagonal())
    return {p: (fitted[len(blocks) + i], errors[len(blocks) + i]) for i, p in enumerate(PARTS)}


def page(found: list[dict[str, Any]]) -> str:
    """Three tables: parts, rules for the epoch, and whole recipes."""
    designed = [cell for cell in found if not cell["recipe"]]
    text = ["# recipes-utd-mhad", "", f"| part | {' | '.join(KINDS)} |", "|:--|" + "--:|" * len(KINDS)]
    by_kind = [effects(designed, kind) for kind in KINDS]
    for part in PARTS:
        text.append(f"| {part} | {' | '.join(signed(*each[part]) for each in by_kind)} |")
    text.append(f"| mean of all runs | {' | '.join(spread([c[kind][-1] for c in designed]) for kind in KINDS)} |")
    text += ["", f"| epoch kept | top-1 | against {next(iter(RULES))} | epoch |", "|:--|--:|--:|--:|"]
    first = next(iter(RULES.values()))
    for name, rule in RULES.items():
        kept = [rule(c["valid_loss"], c["valid_top1"]) for c in designed]
        top1 = [c["ema"][epoch] for c, epoch in zip(designed, kept, strict=True)]
        gains = [a - c["ema"][first(c["valid_loss"], c["valid_top1"])] for a, c in zip(top1, designed, strict=True)]
        gain = signed(statistics.fmean(gains), statistics.stdev(gains) / len(gains) ** 0.5)
        text.append(f"| {name} | {spread(top1)} | {gain} | {1 + statistics.fmean(kept):.0f} |")
    kinds = "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())
    text += ["", "| recipe | top-1 | against paper | n |", "|:--|--:|--:|--:|"]
    wholes = {(c["recipe"], c["method"], c["held_out"], c["seed"]): c["kept"][-1] for c in found if c["recipe"]}
    for recipe in WHOLE:
        values = [value for key, value in wholes.items() if key[0] == recipe]
        gains = [
            v - wholes["paper", *k[1:]] for k, v in wholes.items() if k[0] == recipe and ("paper", *k[1:]) in wholes
        ]
        if len(gains) > 1:
            gain = signed(statistics.fmean(gains), statistics.stdev(gains) / len(gains) ** 0.5)
            text.append(f"| {recipe} | {spread(values)} | {gain} | {len(values)} |")
    methods = ", ".join(sorted({c["method"] for c in found}))
    text += [
        "",
        f"UTD-MHAD, {methods}: {len(designed)} runs of {EPOCHS} epochs on two of persons 1-4; one validates, one is "
        "scored. First table: what a part brings, in points of top-1 ± its standard error, by least squares over "
        f"{len(designed)} runs, in half of which it is on; {kinds}. Second table: which epoch of the running mean is "
        "kept, by the validating person; top-1 in percent, mean ± standard deviation over the "
        f"{len(designed)} runs, and the difference in points ± its standard error. Third table: what a user of a "
        "recipe gets, with its own epochs and the epoch that the validating person's loss chooses. `python "
        "benchmarks/recipes.py parts` and `whole`.",
        "",
    ]
    return "\n".join(text)


def signed(value: float, error: float) -> str:
    """In points."""
    return f"{100 * value:+.1f} ± {100 * error:.1f}"


def spread(values: list[float]) -> str:
    """Mean and deviation, in percent."""
    return f"{100 * statistics.fmean(values):.1f} ± {100 * statistics.stdev(values):.1f}"


if __name__ == "__main__":
    main()
