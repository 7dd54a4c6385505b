"""A small student alone and taught by an ensemble, on people whom no choice has seen, in folds by person.

    sparsefuse prepare utd_mhad ../shared/data/utd_mhad --out runs/utd-mhad/features
    python benchmarks/distill_people.py configs/utd-mhad-stems.yaml --out runs/distill-people

The teacher of a fold: the baseline, late, and sft, the first student alone. How it teaches, temperature and weight,
those people choose who train in the fold: two of them train teacher and students of an inner round, the other two score
these. It goes on where it stopped, with more seeds too, and writes
results/distill-people/<device>-torch<version>-float32.{csv,md}.
"""

import argparse
import csv
import dataclasses
import io
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from sparsefuse import Config, ensemble, train
from sparsefuse.cost.count import count
from sparsefuse.data.clips import load_clips
from sparsefuse.distill.student import distill
from sparsefuse.files.rows import read_table, write_table
from sparsefuse.files.whole import write_text
from sparsefuse.report.findings import beats
from sparsefuse.report.page import runs_table
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.runs.summary import by_name, read_runs, summarise
from sparsefuse.training.train import new_model


class Lesson(NamedTuple):
    """How a teacher teaches."""

    temperature: float
    weight: float

    def __str__(self) -> str:
        return f"T {self.temperature:g}, weight {self.weight:g}"


LESSONS = [Lesson(2.0, 0.5), Lesson(4.0, 0.9)]
"""those to choose from: the default, and what looked better in a first look (LOG.md)"""
TEACHER, ALONE, TAUGHT = "teacher", "sft alone", "sft distilled"


def main() -> None:
    """Trains what is missing, and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--manifest", type=Path, help="in place of the configuration's")
    parser.add_argument("--out", type=Path, default=Path("runs/distill-people"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--inner-seeds", type=int, default=1)
    parser.add_argument("--lesson", help="temperature and weight, as 2,0.5, in place of a choice")
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args()
    config = Config.load(given.config, **({"data": {"manifest": str(given.manifest)}} if given.manifest else {}))
    torch.set_num_threads(1)
    folds = [
        dataclasses.replace(config, data=dataclasses.replace(config.data, split=split))
        for split in config.data.split.each_fold()
    ]
    if given.lesson:
        chosen = [{Lesson(*map(float, given.lesson.split(","))): 0.0}] * len(folds)
    else:
        chosen = [inner(fold, given.out / f"inner-fold{i}", given.inner_seeds) for i, fold in enumerate(folds)]
    for seed in range(given.seeds):
        for i, (fold, scores) in enumerate(zip(folds, chosen, strict=True)):
            place = given.out / "folds" / f"fold{i}"
            teacher = taught_by(fold, place)
            alone(fold, place, seed)
            taught(fold, teacher, place / f"taught-seed{seed}", best(scores), seed)
    version = ".".join(torch.__version__.split("+")[0].split(".")[:2])
    place = given.results / "distill-people" / f"cpu-torch{version}-float32"
    runs = read_runs(given.out / "folds")
    write_text(Path(f"{place}.csv"), runs_table(summarise(runs)).csv())
    if not given.lesson:
        write_text(Path(f"{place}-choice.csv"), choice_csv(chosen))
    groups = by_name(runs)
    said = [beats(groups, "A student", first, TAUGHT, second) for first, second in
            (("its teacher", TEACHER), ("one that is not taught", ALONE))]  # fmt: skip
    lessons = ", ".join(str(best(scores)) for scores in chosen)
    text = f"# distill-people\n\n{runs_table(summarise(runs)).markdown()}\n"
    text += "\n".join(f"- {sentence}" for sentence in said if sentence)
    how = "Given" if given.lesson else "Chosen by the people who train, fold by fold"
    text += f"\n\n{how}: {lessons}. Concat with the options of this configuration costs "
    text += f"{concat(config):.4f} GMACs, with those of configs/utd-mhad.yaml .0589.\n"
    write_text(Path(f"{place}.md"), text)


def taught_by(config: Config, out: Path) -> Path:
    """The teacher of a fold, and its members beside it."""
    others = [
        train(config, out / method, method=method, resume=True, measured=False, shown=False)
        for method in ("baseline", "late")
    ]
    members = [*others, alone(config, out, 0)]
    if not RunFolder(out / TEACHER).finished:
        ensemble(members, out / TEACHER, name=TEACHER, measured=False)
    return out / TEACHER


def alone(config: Config, out: Path, seed: int) -> Path:
    """A student without a teacher."""
    place = out / f"alone-seed{seed}"
    return train(config, place, method="sft", seed=seed, name=ALONE, resume=True, measured=False, shown=False)


def best(scores: dict[Lesson, float]) -> Lesson:
    """The lesson with the best score; of equals the first."""
    return max(scores, key=lambda one: scores[one])


def taught(config: Config, teacher: Path, out: Path, lesson: Lesson, seed: int) -> Result:
    """A student that is taught so."""
    student = dataclasses.replace(config, method="sft", seed=seed)
    distill([teacher], out, config=student, resume=True, measured=False, distill=lesson._asdict())
    return RunFolder(out).read(Result)


def inner(config: Config, out: Path, seeds: int) -> dict[Lesson, float]:
    """Lesson -> top-1 of its students on two of the people who train in the fold, whom the two others have taught."""
    manifest = Path(config.data.manifest)
    rows = read_table(manifest).rows
    people = sorted({row["group"] for row in rows} - set(config.data.split.test_groups))
    path = manifest.parent / f"people-{'-'.join(people)}.csv"
    write_table(path, [row for row in rows if row["group"] in people])
    split = dataclasses.replace(config.data.split, folds=[], test_groups=people[: len(people) // 2])
    data = dataclasses.replace(config.data, manifest=str(path), split=split)
    within = dataclasses.replace(config, data=data)
    teacher, found = taught_by(within, out), {}
    for lesson in LESSONS:
        name = f"taught-{lesson.temperature:g}-{lesson.weight:g}"
        results = [taught(within, teacher, out / f"{name}-seed{seed}", lesson, seed) for seed in range(seeds)]
        found[lesson] = statistics.fmean(result.test["top1"] for result in results)
    return found


def choice_csv(chosen: list[dict[Lesson, float]]) -> str:
    """Top-1 of each lesson in the inner round of each fold."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(choice_rows(chosen))
    return text.getvalue()


def choice_rows(chosen: list[dict[Lesson, float]]) -> Iterator[list[str]]:
    yield ["lesson", *(f"fold {fold}" for fold in range(len(chosen))), "mean"]
    for lesson in LESSONS:
        scores = [scores[lesson] for scores in chosen]
        yield [str(lesson), *(f"{100 * score:.1f}" for score in [*scores, statistics.fmean(scores)])]


def concat(config: Config) -> float:
    """GMACs of a clip with the method concat."""
    clips = load_clips(dataclasses.replace(config.data, split=config.data.split.each_fold()[0]), Path())
    return count(new_model(dataclasses.replace(config, method="concat"), clips), clips.typical).total / 1e9


if __name__ == "__main__":
    main()
