"""Writes results/ and the tables of README.md and docs/ from run folders and from the code itself.

    python results/publish.py                              the tables only
    python results/publish.py runs/grid/color grid-color   files a comparison, study or search first

Run from the repository's root. Nobody types a number.
"""

import csv
import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import gpu_targets
from withdraw import NOTES, notes_of

from sparsefuse.budget import page as search_page
from sparsefuse.cost.table import ledger
from sparsefuse.files.whole import write_text
from sparsefuse.methods import fusions, methods, pixels
from sparsefuse.report.page import read_runs, runs_table, summarise
from sparsefuse.study import page as study_page

RESULTS = Path("results")
SPARSE = {
    "sft, sparse": {"sparse": "strided"},
    "sft, sparse throughout": {"sparse": "local", "unimodal_attention": "local"},
}


def main() -> None:
    """See the module's docstring."""
    if len(sys.argv) == 3:
        file_under(Path(sys.argv[1]), sys.argv[2])
    tables = {
        "cost": cost_table(),
        "accuracy-and-cost": accuracy_and_cost(),
        "methods": methods_table(methods(), "sparsefuse.methods"),
        "each-method": methods_sections(methods(), "sparsefuse.methods"),
        "pixel-methods": methods_table(pixels.methods(), "sparsefuse.methods.pixels"),
        "cpu-and-gpu": gpu_targets.side_by_side(),
        "gpu-targets": gpu_targets.targets(),
        "each-pixel-method": methods_sections(pixels.methods(), "sparsefuse.methods.pixels"),
    }
    for folder in sorted(path for path in RESULTS.iterdir() if path.is_dir()):
        notes = notes_of(folder)
        for table in sorted(folder.glob("*-torch*.md")):
            text = table.read_text(encoding="utf-8").splitlines()
            name = folder.name if table.name.startswith("cpu-") or folder.name != "benchmark" else "benchmark-gpu"
            tables[name] = "\n".join(line for line in text if line.startswith("|")) + notes.get(table.stem, "")
            tables[f"{name}-findings"] = "\n".join(line for line in text if line.startswith("- "))
        for table in sorted(folder.glob("*.csv")) if folder.name.startswith(("study-", "budget-")) else ():
            tables[f"{folder.name}-{table.stem}"] = csv_table(table) + notes.get(table.stem, "")
    for page in (Path("README.md"), *sorted(Path("docs").rglob("*.md"))):
        fill(page, tables)


def file_under(runs: Path, name: str) -> None:
    """Writes results/<name>/<device>-torch<version>-<precision>.csv and .md; of a study or a search, all it wrote.
    Notes on what was withdrawn there end."""
    (RESULTS / name / NOTES).unlink(missing_ok=True)
    if (runs / "study.json").is_file():
        study_page.write_page(runs)
    if (runs / "search.json").is_file():
        search_page.write_page(runs)
    if (runs / "study.json").is_file() or (runs / "search.json").is_file():
        for path in sorted(path for path in runs.iterdir() if path.suffix in (".csv", ".md", ".svg")):
            write_text(RESULTS / name / path.name, path.read_text(encoding="utf-8"))
        runs = runs / "chosen"
        if not runs.is_dir():  # of a search, the one run that was tested
            return
    found = [run for run in read_runs(runs) if run.outcome]
    env, config = found[0].env, found[0].config
    assert env is not None
    assert config is not None
    device = "cpu" if "CPU" in env.device else re.sub(r"\W+", "-", env.device.lower())
    version = ".".join(env.torch.split("+")[0].split(".")[:2])
    place = RESULTS / name / f"{device}-torch{version}-{config.train.precision}"
    place.parent.mkdir(parents=True, exist_ok=True)
    rows = summarise(found)
    table, here = runs_table(rows), f"runs/{runs.name}"  # wherever they lay
    write_text(Path(f"{place}.csv"), table.csv().replace(str(runs), here))
    commits = ", ".join(sorted({run.env.commit for run in found if run.env}))
    sizes = ", ".join(f"{split} {count}" for split, count in found[0].result.splits.items())
    commands = " and ".join(sorted({f"`{run.env.command}`" for run in found if run.env}))
    minutes = sum(run.result.seconds for run in found) / 60
    text = f"# {name}\n\n{table.markdown().replace(str(runs), here)}\n"
    text += f"Clips: {sizes}. Commands: {commands}. Commit: {commits}. Training took {minutes:.0f} minutes in all.\n"
    write_text(Path(f"{place}.md"), text)


def csv_table(path: Path) -> str:
    """A CSV file as a Markdown table."""
    head, *lines = csv.reader(path.read_text(encoding="utf-8").splitlines())
    rule = [":--", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines])


def cost_table() -> str:
    """The ledger at the shapes of the SFT study."""
    lines = [
        "| method | clip | inputs | layers | head | formula | paper | parameters |",
        "|:--|:--|--:|--:|--:|--:|--:|--:|",
    ]
    for shapes in ("vggs", "mosei"):
        both = ledger(fusions(), {}, {}, 0, {}, shapes=shapes)
        for name, options in SPARSE.items():
            (line,) = ledger(["sft"], {}, {}, 0, {"sft": options}, shapes=shapes)
            both.append(line._replace(method=name, reported=None))
        for line in both:
            cost = line.cost
            figures = [f"{value / 1e9:.4f}" for value in (cost.embed, cost.layers, cost.head, cost.paper)]
            reported = "" if line.reported is None else f"{line.reported:.2f}"
            lines.append(f"| {line.method} | {shapes} | {' | '.join(figures)} | {reported} | {cost.parameters:,} |")
    return "\n".join(lines)


def accuracy_and_cost() -> str:
    """Methods of the study on UTD-MHAD, and what `budget` chose there, cheapest first."""
    study = RESULTS / "study-utd-mhad"
    accuracy, cost = ({row["Method"]: row for row in _rows(study / f"{table}.csv")} for table in ("t1", "t2"))
    found = [(name, accuracy[name]["Top-1 %"], cost[name]["GMACs"], cost[name]["Parameters"]) for name in IN_README]
    for folder, name in (
        ("budget-utd-mhad-small-seeds", "sft, found by `budget`"),
        ("tokenfusion-utd-mhad", "tokenfusion"),
    ):
        (row,) = _rows(next((RESULTS / folder).glob("*.csv")))
        top1 = f"{100 * float(row['top1_mean']):.1f} ± {100 * float(row['top1_std']):.1f}"
        found.append((name, top1, f"{float(row['gmacs']):.3g}", f"{float(row['parameters']):,.0f}"))
    found.sort(key=lambda row: float(row[2]))
    lines = ["| method | top-1 % | GMACs per clip | times the cheapest | parameters |", "|:--|--:|--:|--:|--:|"]
    for name, top1, gmacs, parameters in found:
        times = float(gmacs) / float(found[0][2])
        lines.append(f"| {name} | {top1} | {float(gmacs):.4f} | {times:.1f} | {parameters} |")
    return "\n".join(lines)


IN_README = ("sft", "concat", "late", "locomt", "mbt", "mult", "unimodal (inertial)")


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def methods_table(names: list[str], package: str) -> str:
    """Name and first docstring line of every method."""
    lines = ["| method | what it is | source |", "|:--|:--|:--|"]
    for name in names:
        text = (import_module(f"{package}.{name}").__doc__ or "").strip()
        source = re.search(r"\w+ (et al\.|and \w+) \d{4}", text)
        summary = re.sub(r" \([^)]*et al[^)]*\)", "", text.splitlines()[0]).rstrip(".")
        lines.append(f"| `{name}` | {summary} | {source[0] if source else ''} |")
    return "\n".join(lines)


def methods_sections(names: list[str], package: str) -> str:
    """What every method's file says of itself: its docstring with the figure, that of `build`, and its options."""
    parts = []
    for name in names:
        module = import_module(f"{package}.{name}")
        options = [_option(p) for p in inspect.signature(module.build).parameters.values() if p.name not in GIVEN]
        said = " ".join((inspect.getdoc(module.build) or "").split())
        figure = Path("docs/images") / f"{module.__name__.removeprefix('sparsefuse.methods.')}.svg"  # or none yet
        drawn = f"![{name}, drawn]({figure.relative_to('docs')})\n\n" if figure.is_file() else ""
        text = f"{inspect.cleandoc(module.__doc__)}\n\n{said}\n\nOptions: {', '.join(options)}."
        parts.append(f"### `{name}`\n\n{drawn}{text}")
    return "\n\n".join(parts)


GIVEN = ("features", "streams", "num_classes", "lengths")


def _option(parameter: inspect.Parameter) -> str:
    """An option with its default, and what else it may be."""
    choices = [c for c in _choices(parameter.annotation) if c != parameter.default]
    return f"`{parameter.name}` {parameter.default}" + (f" ({' | '.join(choices)})" if choices else "")


def _choices(annotation: Any) -> list[str]:
    """The words that a parameter may be."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for part in get_args(annotation) for word in _choices(part)]


def fill(page: Path, tables: dict[str, str]) -> None:
    """Puts tables between their markers: <!-- table: NAME --> ... <!-- end -->."""

    def put(match: re.Match[str]) -> str:
        table = tables.get(match[1], match[2].strip())
        return f"<!-- table: {match[1]} -->\n{table}\n<!-- end -->" if table else match[0]

    text = page.read_text(encoding="utf-8")
    write_text(page, re.sub(r"<!-- table: ([\w-]+) -->\n(.*?)<!-- end -->", put, text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
