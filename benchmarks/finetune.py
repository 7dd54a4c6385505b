"""What `finetune` gains on a person the model never saw, by two clips per class, and what it costs the others.

    python benchmarks/finetune.py choose   models that each lack one of subjects 1-4, adapted to that one: what decided
                                           the defaults
    python benchmarks/finetune.py          the study's three models of subjects 1-4, adapted to subject 5 and to 6

Both write results/finetune-utd-mhad[-choice]/cpu-torch<ver>-float32.{csv,md}. The runs are those of
configs/study/utd-mhad.yaml (see there); none is changed. Run from the folder that the paths of its runs are relative
to, the repository's root. A person learns from the first two clips of each action (trials 1 and 2) and is tested on
the other two; the old persons are tested on the model's own validation clips.
"""

import argparse
import dataclasses
import logging
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import ArgumentParser

from sparsefuse import metrics
from sparsefuse.config import Config
from sparsefuse.files.rows import csv_text, read_table, write_table
from sparsefuse.files.whole import read_json, write_text
from sparsefuse.finetune import Settings, finetune
from sparsefuse.inference.evaluate import open_run, outputs
from sparsefuse.training import replay
from sparsefuse.training.train import train

CONFIG = Path("configs/study/utd-mhad.yaml")
SEEDS = (0, 1, 2)
TRIALS, OTHERS = ("t1", "t2"), ("t3", "t4")


class Way(NamedTuple):
    """One line of the table."""

    name: str
    settings: Settings
    swapped: bool = False
    """learn from the clips that are tested otherwise"""
    together: bool = False
    """all new persons at once, one model for them all"""


WAYS = [
    Way("head", Settings("head")),
    Way("fusion", Settings("fusion")),
    Way("lora", Settings("lora")),
    Way("all", Settings("all")),
    Way("fusion, no old clips", Settings("fusion", replay=False)),
    Way("head, no old clips", Settings("head", replay=False)),
]
MORE = [
    Way("fusion, trials swapped", Settings("fusion"), swapped=True),
    Way("fusion, both persons at once", Settings("fusion"), together=True),
]


class Case(NamedTuple):
    """A model, and the persons it lacks."""

    seed: int
    run: Path
    persons: tuple[str, ...]


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", nargs="?", choices=["test", "choose"], default="test")
    parser.add_argument("--runs", type=Path, default=Path("runs/utd-mhad/study/runs"))
    parser.add_argument("--models", type=Path, default=Path("runs/utd-mhad/finetune"), help="of `choose`")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("sparsefuse").setLevel(logging.ERROR)
    if options.what == "test":
        cases = [Case(seed, options.runs / f"sft-seed{seed}", ("5", "6")) for seed in SEEDS]
        ways, name = [*WAYS, *MORE], "finetune-utd-mhad"
    else:
        cases = [Case(0, lacking(person, options.models), (person,)) for person in "1234"]
        ways, name = WAYS, "finetune-utd-mhad-choice"
    place = options.results / name / f"cpu-torch{'.'.join(torch.__version__.split('+')[0].split('.')[:2])}-float32"
    cells: list[dict[str, Any]] = []
    for way in ways:
        for case in cases:
            for persons in [case.persons] if way.together else [(person,) for person in case.persons]:
                first = not any(cell["way"] == way.name for cell in cells)
                cells.append(cell_of(way, case, persons, measured=first))
                print({key: value for key, value in cells[-1].items() if key != "way"}, way.name, flush=True)
    write_text(Path(f"{place}.csv"), csv_text([list(cells[0]), *(list(cell.values()) for cell in cells)]))
    write_text(Path(f"{place}.md"), page(name, cells, options.what == "choose"))


def lacking(person: str, folder: Path) -> Path:
    """The model of subjects 1-4 without one, trained as in the study; a rerun finds it. No test clip is looked at."""
    parser = ArgumentParser()
    parser.add_class_arguments(Config, None)
    config = Config(**vars(parser.instantiate(parser.parse_path(str(CONFIG)))))
    split = dataclasses.replace(config.data.split, test_groups=[person, *config.data.split.test_groups])
    data = dataclasses.replace(config.data, split=split, manifest=str(CONFIG.parent / config.data.manifest))
    config = dataclasses.replace(config, data=data)
    out = folder / f"without{person}-seed0"
    return train(config, out, root=Path(), resume=out.exists(), measured=False, tested=False, shown=False)


def cell_of(way: Way, case: Case, persons: tuple[str, ...], *, measured: bool) -> dict[str, Any]:
    """Adapts one model to one person (or to all) and scores it before and after."""
    with tempfile.TemporaryDirectory() as folder:
        run = shutil.copytree(case.run, Path(folder) / "run")
        opened = open_run(run, split="train")
        replay.keep(run, opened.predictor.model, opened.data, Config().train.replay)
        learn, test = (OTHERS, TRIALS) if way.swapped else (TRIALS, OTHERS)
        manifests = [clips_of(case.run, persons, trials, Path(folder)) for trials in (learn, test)]
        out = Path(folder) / "adapted"
        finetune(run, manifests[0], out, settings=way.settings, test=manifests[1], measured=measured)
        result = read_json(out / "result.json")
        found = result["finetune"]
        return {
            "way": way.name,
            "seed": case.seed,
            "persons": "+".join(persons),
            "clips": result["splits"]["train"],
            "epochs": result["epochs"],
            "held_out_before": found["held_out"]["before"]["top1"],
            "held_out_after": found["held_out"]["after"]["top1"],
            "new_before": found["test"]["before"]["top1"],
            "new_after": found["test"]["after"]["top1"],
            "old_before": top1(run),
            "old_after": top1(out),
            "step_ms": found["effort"].get("step_ms", ""),
            "memory_mb": found["effort"].get("memory_mb", ""),
            "trained": found["effort"].get("trained", ""),
        }


def clips_of(run: Path, persons: tuple[str, ...], trials: tuple[str, ...], folder: Path) -> Path:
    """A manifest of some trials of some persons."""
    manifest = Path(read_json(run / "config.json")["data"]["manifest"])
    rows = []
    for row in read_table(manifest).rows:
        if row["group"] in persons and row["id"].rpartition("_")[2] in trials:
            files = {name: str((manifest.parent / row[name]).resolve()) for name in ("depth", "inertial", "skeleton")}
            rows.append({"id": row["id"], **files, "label": row["label"]})
    return write_table(folder / f"{'-'.join(trials)}.csv", rows)


def top1(run: Path) -> float:
    """On the validation clips of the persons that the model was trained on."""
    logits, labels = outputs(open_run(run, split="valid"))
    return metrics.scores(logits, labels, "class")["top1"]


def page(name: str, cells: list[dict[str, Any]], choice: bool) -> str:
    """The table: means over persons, then mean and deviation over seeds."""
    lines = [
        "| what learns | new person before | after | gain | old persons before | after | change | trained | ms per step"
        " | MB |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for way in dict.fromkeys(cell["way"] for cell in cells):
        own = [cell for cell in cells if cell["way"] == way]
        before, after, old, now = (by_seed(own, key) for key in ("new_before", "new_after", "old_before", "old_after"))
        gain, change = ([b - a for a, b in zip(*pair, strict=True)] for pair in ((before, after), (old, now)))
        figures = [shown(v) for v in (before, after)] + [shown(gain, "+")] + [shown(v) for v in (old, now)]
        figures += [
            shown(change, "+"),
            f"{own[0]['trained']:,}",
            f"{own[0]['step_ms']:.0f}",
            f"{own[0]['memory_mb']:.1f}",
        ]
        lines.append(f"| {way} | {' | '.join(figures)} |")
    seeds, persons = len({cell["seed"] for cell in cells}), sorted({cell["persons"] for cell in cells})
    said = (
        f"top-1 in percent; mean ± standard deviation over {seeds} seeds, each the mean over the persons"
        if seeds > 1
        else "top-1 in percent; mean over the persons, one seed"
    )
    which = "python benchmarks/finetune.py" + " choose" * choice
    told = f"UTD-MHAD, sft; persons {', '.join(persons)}, two clips of each of 27 actions; {said}. A step takes 24 new "
    told += (
        "clips, and 24 old ones where there are any, on one CPU thread; its time was taken beside other work, so the "
    )
    told += f"rows' times compare badly. `{which}`."
    return "\n".join([f"# {name}", "", *lines, "", told, ""])


def by_seed(cells: list[dict[str, Any]], key: str) -> list[float]:
    """The mean over persons, per seed."""
    seeds = sorted({cell["seed"] for cell in cells})
    return [statistics.fmean(cell[key] for cell in cells if cell["seed"] == seed) for seed in seeds]


def shown(values: list[float], sign: str = "") -> str:
    """In percent, with the deviation if there are several."""
    mean = f"{100 * statistics.fmean(values):{sign}.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
