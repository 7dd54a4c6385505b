"""Whether `--method auto` beats the baseline and the best single stream of two sensors, with intervals.

    sparsefuse prepare utd_mhad ../shared/data/utd_mhad --out runs/utd-mhad/features
    python benchmarks/auto.py configs/utd-mhad-inertial.yaml runs/utd-mhad/features/four-streams.csv --refit

The manifest's arrays are written as tables of readings, from which `extract` makes what the configuration says. In each
fold `auto` chooses among its candidates by validation clips; beside it the baseline of both streams, and each stream
alone (baseline and `unimodal`), all with the same clips. Which single stream is the best one, validation clips say,
too. It goes on where it stopped, and writes
results/auto-inertial/<device>-torch<version>-float32.{csv,md}. Where clips of the people who train validate,

    python benchmarks/auto.py ... --valid-by stratified --name auto-inertial-same-people --out runs/auto-same-people

all candidates are nearly always right there, and the choice is one by chance.
"""

import argparse
import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from sparsefuse import Config, compare, extract
from sparsefuse.experiments.auto import train_auto
from sparsefuse.experiments.refit import refit
from sparsefuse.files.rows import read_table, write_table
from sparsefuse.files.whole import write_text
from sparsefuse.report.findings import beats, best
from sparsefuse.report.page import runs_table
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.summary import Run, by_name, read_runs, summarise

STREAMS = ("accelerometer", "gyroscope")


def main() -> None:
    """Trains what is missing, and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/auto"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--time-limit", default="20m", help="of each search")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--valid-by", default="auto", help="auto: other people than those who train; stratified: their clips"
    )
    parser.add_argument("--name", default="auto-inertial", help="of the folder in results/")
    parser.add_argument("--refit", action="store_true", help="rows of runs that learn from validation clips, too")
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args()
    config = Config.load(given.config)
    assert isinstance(config.features, dict)
    made = extract(readings(given.manifest, given.out / "readings"), given.out / "features", features=config.features)
    config = Config.load(config, data={"manifest": str(made.manifest), "split": {"valid_by": given.valid_by}})
    seeds = range(given.seeds)
    compare(config, ["unimodal"], seeds, given.out / "single", jobs=given.jobs)
    for seed in seeds:
        for split in config.data.split.each_fold():
            fold = dataclasses.replace(config, seed=seed, data=dataclasses.replace(config.data, split=split))
            out = given.out / "auto" / f"fold{split.number}-seed{seed}"
            train_auto(fold, out, resume=True, time_limit=given.time_limit, jobs=given.jobs)
    singles = [unhurried(run) for run in read_runs(given.out / "single")]
    chosen = [unhurried(run) for run in read_runs(given.out / "auto") if run.choice]
    simple = [run for run in singles if run.name in ("baseline", best_single(singles))]
    wholes = [whole(run, given.out / "refit") for run in [*chosen, *simple]] if given.refit else []
    version = ".".join(torch.__version__.split("+")[0].split(".")[:2])
    place = given.results / given.name / f"cpu-torch{version}-float32"
    runs = [*singles, *map(renamed, chosen), *wholes]
    write_text(Path(f"{place}.csv"), runs_table(summarise(runs)).csv())
    write_text(Path(f"{place}.md"), page(given.name, runs, chosen))


def readings(manifest: Path, out: Path) -> Path:
    """A manifest of tables, a column per axis and a row per reading, of one whose streams are arrays (T, 3)."""
    rows = []
    for row in read_table(manifest).rows:
        files = {}
        for stream in STREAMS:
            file, _, columns = row[stream].partition("#")
            first, last = map(int, columns.split(":"))
            files[stream] = f"{stream}/{row['id']}.csv"
            if not (out / files[stream]).is_file():
                table = [["x", "y", "z"], *np.load(manifest.parent / file)[:, first:last].tolist()]
                write_text(out / files[stream], "\n".join(",".join(map(str, line)) for line in table) + "\n")
        rows.append({"id": row["id"], **files, "label": row["label"], "group": row["group"]})
    return write_table(out / "manifest.csv", rows)


def unhurried(run: Run) -> Run:
    """Without what is said of latencies: no table here has them."""
    return run._replace(outcome=dataclasses.replace(run.result, cost=dataclasses.replace(run.result.cost, doubt="")))


def renamed(run: Run, name: str = "auto") -> Run:
    """A chosen run under the name of who chose it."""
    return run._replace(outcome=dataclasses.replace(run.result, name=name))


def whole(run: Run, out: Path) -> Run:
    """A run of the same options, trained once more on the clips that validated, too."""
    made = refit([RunFolder(run.folder)], out / f"{run.folder.name}{'-auto' * bool(run.choice)}", measured=False)
    (found,) = read_runs(made)
    return found if run.choice is None else renamed(found, "auto, refit")


def best_single(runs: list[Run]) -> str:
    """By validation clips."""
    groups = by_name(runs)
    return best(groups, [name for name in groups if "(" in name])


def page(name: str, runs: list[Run], chosen: list[Run]) -> str:
    """The table, and in sentences what it says."""
    groups = by_name(runs)
    single = best_single([run for run in runs if not run.name.endswith(", refit")])
    said = []
    for end in ("", ", refit") if "auto, refit" in groups else ("",):
        said.append(beats(groups, f"auto{end}", "the baseline", f"auto{end}", f"baseline{end}"))
        said.append(beats(groups, f"auto{end}", "the best single stream", f"auto{end}", f"{single}{end}"))
    picked = Counter(run.result.name for run in chosen)
    text = f"# {name}\n\n{runs_table(summarise(runs)).markdown()}\n"
    text += "\n".join(f"- {sentence}" for sentence in said)
    text += f"\n\n`auto` chose {', '.join(f'{name} ({n} of {len(chosen)})' for name, n in picked.most_common())}.\n"
    return text


if __name__ == "__main__":
    main()
