"""The verbs of the command line: a function each, one per stage. Heavy imports stay inside, so that --help is quick."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from sparsefuse.config import Config


def demo(out: Path = Path("sparsefuse-demo"), clips: int = 360, epochs: int = 16, seed: int = 0) -> None:
    """Renders clips with sound, then does all a user would: extract, compare, report, predict one fresh clip.

    Args:
        out: folder for clips, features, runs and the report
        clips: how many clips to render
        epochs: passes over the training clips
        seed: seed of the clips and of the models
    """
    from sparsefuse.demo import run

    run(out, clips=clips, epochs=epochs, seed=seed)


def prepare(data_set: str, source: Path, out: Path) -> None:
    """Turns a public data set, as it is distributed, into feature files and a manifest.

    Args:
        data_set: av_digits, grid or utd_mhad
        source: folder with the unpacked data set
        out: folder for the manifest and what it names
    """
    from sparsefuse.data.formats import prepare

    print(prepare(data_set, source, out))


def generate(
    out: Path,
    clips: int = 1200,
    parts: int = 3,
    redundancy: float = 0.25,
    one: float = 0.25,
    both: float = 0.25,
    lengths: dict[str, int] = {"left": 32, "right": 64},  # noqa: B006
    seed: int = 0,
) -> None:
    """Makes feature files of two modalities whose redundancy and complementarity are known.

    Args:
        out: folder for the features, manifest.csv and truth.json
        clips: how many
        parts: a class is a pair of parts; this many of each make parts x parts classes
        redundancy: share of a stream's tokens that show something of the class
        one: share of the clips in which one modality shows the class and the other nothing
        both: share of the clips in which each modality shows half of the class; in the rest each shows all of it
        lengths: tokens of the two modalities, as left=32,right=64
        seed: seed of the clips
    """
    from sparsefuse.data.known import generate

    print(
        generate(out, clips=clips, parts=parts, redundancy=redundancy, one=one, both=both, lengths=lengths, seed=seed)
    )


def extract(manifest: Path, out: Path, config: Config, jobs: int = 0, strict: bool = False) -> None:
    """Makes feature files from the media files of a manifest, and a new manifest that names them.

    Args:
        manifest: CSV or JSONL with id, one column per media or feature file, and labels
        out: folder for the features; a rerun makes only what is missing
        jobs: processes; 0 = one per core
        strict: stop at the first clip that cannot be used
    """
    from sparsefuse.features.extract import extract

    found = extract(manifest, out, features=config.features, jobs=jobs, strict=strict)
    print(f"{found.done} made, {found.reused} reused, {len(found.skipped)} skipped -> {found.manifest}")
    if found.skipped:
        print(f"skipped: see {out / 'skipped.jsonl'}; the first is {found.skipped[0].id}: {found.skipped[0].reason}")


def check(config: Config, json: Path | None = None) -> None:
    """Reads all data a configuration names and says what would go wrong. Exit code 1 if there are errors.

    Args:
        json: write the findings to this file too
    """
    from sparsefuse.checks import check_config
    from sparsefuse.data.check import check, show
    from sparsefuse.files import write_json

    check_config(config)
    report = check(config.data, Path())
    show(report)
    if json:
        write_json(json, report.to_json())
    if any(problem.severity == "error" for problem in report.problems):
        raise SystemExit(1)


def train(config: Config, out: Path = Path("runs/train"), resume: bool = False) -> None:
    """Trains one model and tests its best checkpoint. Under torchrun, all processes train together.

    Args:
        out: the run folder
        resume: continue a run that was stopped, to the same weights
    """
    from sparsefuse.train import train

    train(config, out, root=Path(), resume=resume)
    if (out / "result.json").exists():
        _print_run(out)


def eval(
    run: Path,
    split: Literal["train", "valid", "test"] = "test",
    manifest: Path | None = None,
    trust_code: bool = False,
) -> None:
    """Scores a finished run on a split of its own data, or on all of another manifest.

    Args:
        run: the run folder
        split: which split of the run's data
        manifest: another manifest with the same modalities; all its labelled clips are scored
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.evaluate import evaluate

    for name, value in evaluate(run, split=split, manifest=manifest, trust_code=trust_code).items():
        print(f"{name:>9}  {value:.4f}" if isinstance(value, float) else f"{name:>9}  {value}")


def compare(
    config: Config,
    methods: list[str] = [],  # noqa: B006
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    out: Path = Path("runs/compare"),
    jobs: int = 0,
    engine: Literal["local", "ray"] = "local",
) -> None:
    """Trains methods x seeds and puts accuracy (mean ± std) beside cost in one table. A rerun does what is missing.

    Args:
        methods: names (as --method) or .py files, all if not given; unimodal stands for each modality alone
        seeds: one run per method and seed
        out: folder for the run folders, compare.csv, compare.md and report.html
        jobs: runs at a time; 0 = one per core, or one at a time on a GPU
        engine: local = processes of this machine; ray = tasks of a Ray cluster that sees the same files
    """
    from sparsefuse.experiment import compare
    from sparsefuse.methods import methods as every

    failed = compare(config, methods or every(), seeds, out, root=Path(), jobs=jobs, engine=engine)
    _print_table(out, "compare", failed)


def ablate(
    config: Config,
    option: str,
    values: list[Any],
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    out: Path = Path("runs/ablate"),
    jobs: int = 0,
    engine: Literal["local", "ray"] = "local",
) -> None:
    """Trains one method with one option at several values x seeds, in one table. A rerun does what is missing.

    Args:
        option: an option of the method (pool), of training (train.lr) or of the data (data.noise)
        values: its values, as avg,max,attn
        seeds: one run per value and seed
        out: folder for the run folders, ablate.csv, ablate.md and report.html
        jobs: runs at a time; 0 = one per core, or one at a time on a GPU
        engine: local = processes of this machine; ray = tasks of a Ray cluster that sees the same files
    """
    from sparsefuse.experiment import grid, run
    from sparsefuse.variants import values_of

    cells = grid(config, values_of(config, option, values), seeds, out, root=Path())
    _print_table(out, "ablate", run(cells, jobs=jobs, engine=engine))


def study(
    config: Config,
    out: Path = Path("runs/study"),
    jobs: int = 0,
    engine: Literal["local", "ray"] = "local",
) -> None:
    """Runs the SFT paper's experiments (tables 1-5, figure 2) on a configuration's data. A rerun does what is missing.

    Args:
        out: folder for the runs, the tables and report.html
        jobs: runs at a time; 0 = one per core, or one at a time on a GPU
        engine: local = processes of this machine; ray = tasks of a Ray cluster that sees the same files
    """
    from sparsefuse.study.conduct import conduct
    from sparsefuse.study.page import write_page

    failed = conduct(config, out, root=Path(), jobs=jobs, engine=engine)
    print(write_page(out))
    if failed:
        raise SystemExit("\n".join([f"{len(failed)} runs failed:", *failed]))


def budget(
    config: Config,
    gmacs: float | None = None,
    latency_ms: float | None = None,
    memory_mb: float | None = None,
    params: float | None = None,
    methods: list[str] = [],  # noqa: B006
    trials: int = 30,
    epochs: int | None = None,
    seeds: list[int] = [1, 2, 3],  # noqa: B006
    finalists: int = 3,
    out: Path = Path("runs/budget"),
    jobs: int = 0,
) -> None:
    """Searches the method's options under a budget; gives the Pareto front, the chosen options and a trained model.

    Args:
        gmacs: most multiply-adds per clip, in units of 1e9; give at least one of these four, all that are given hold
        latency_ms: longest time for one clip on this machine (median), in milliseconds
        memory_mb: most memory for activations of a training step, per clip, in MB
        params: most trained numbers
        methods: names or .py files to choose from; with --method auto, all but unimodal
        trials: candidates to train; what is over the budget does not count as one
        epochs: passes over the training split per trial; as in training if not given
        seeds: seeds that the finalists are trained with, beside the one of the trials (--seed)
        finalists: how many of the front are trained with all seeds; of several methods, always the best of each
        out: folder for the search; a rerun continues it
        jobs: runs at a time; 0 = one per core, or one at a time on a GPU
    """
    from rich.console import Console

    from sparsefuse.budget.limits import Limits
    from sparsefuse.budget.search import search
    from sparsefuse.methods import fusions

    if config.method == "auto" and not methods:
        methods = fusions()
    limits = Limits(gmacs, params, memory_mb, latency_ms)
    found = search(
        config,
        limits,
        out,
        root=Path(),
        methods=methods,
        trials=trials,
        epochs=epochs,
        seeds=seeds,
        finalists=finalists,
        jobs=jobs,
    )
    Console().print(found.front.rich(), found.finalists.rich(), sep="\n")
    _print_run(found.chosen)
    print(f"{out / 'front.csv'}  {out / 'front.md'}  {found.yaml}  {found.chosen}")


def search_views(
    config: Config,
    gmacs: float,
    price: float = 0.1,
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    draws: int = 2,
    out: Path = Path("runs/views"),
    jobs: int = 0,
) -> None:
    """Searches which heads of LoCoMT read which modalities under a budget, beside strategies that cost as much.

    Args:
        gmacs: most multiply-adds per clip, in units of 1e9
        price: what the expected cost of attention adds to the loss while views are learned, in parts of reading oneself
        seeds: one run per choice of views and seed
        draws: random choices of views to compare with
        out: folder for views.yaml (the configuration found) and runs/, with views.csv, views.md and report.html
        jobs: runs at a time; 0 = one per core, or one at a time on a GPU
    """
    from sparsefuse.budget.views import search_views

    found = search_views(config, gmacs, out, root=Path(), price=price, seeds=seeds, draws=draws, jobs=jobs)
    for layer, views in enumerate(found.views):
        print(f"layer {layer + 1}: " + ", ".join(f"{view} {heads}" for view, heads in views.items()))
    print(found.yaml)
    _print_table(out / "runs", "views", found.failed)


def cost(
    lengths: dict[str, int] = {},  # noqa: B006
    features: dict[str, int] = {},  # noqa: B006
    methods: list[str] = [],  # noqa: B006
    num_classes: int = 10,
    options: dict[str, dict[str, Any]] = {},  # noqa: B006
    shapes: Literal["vggs", "mosei"] | None = None,
    measure: bool = False,
    json: bool = False,
) -> None:
    """Counts multiply-adds and parameters of methods; with --measure also memory and latency on this machine.

    Args:
        lengths: tokens per modality, as rgb=38,flow=38,spectrogram=1200
        features: feature size per modality, as rgb=1024,flow=1024,spectrogram=128
        methods: names or .py files; all but unimodal if not given
        num_classes: outputs of the head
        options: per method, as sft.sparse=dense
        shapes: the SFT paper's shapes and options in place of lengths, features and num_classes; adds its figures
        measure: measure memory and latency too
        json: print JSON
    """
    from sparsefuse.ledger import ledger, show
    from sparsefuse.methods import fusions

    lines = ledger(methods or fusions(), lengths, features, num_classes, options, shapes=shapes, measured=measure)
    show(lines, as_json=json)


def report(folder: Path, out: Path | None = None) -> None:
    """Writes one HTML page about all runs below a folder, or a study; it opens from disk, without a network.

    Args:
        folder: a run folder, a folder of run folders, or a study's folder
        out: the page; <folder>/report.html by default
    """
    from sparsefuse.report import write_report
    from sparsefuse.study.page import write_page

    print(write_page(folder, out) if (folder / "study.json").is_file() else write_report(folder, out))


def predict(run: Path, files: list[Path], top: int = 3, json: bool = False, trust_code: bool = False) -> None:
    """Predicts the label of media files, or of all clips in a manifest. Exit code 1 if a file could not be read.

    Args:
        run: the run folder of the model
        files: media files, or a CSV or JSONL manifest of clips
        top: how many classes to print
        json: print one JSON object a line
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.predictions import show

    if show(run, files, top=top, as_json=json, trust_code=trust_code):
        raise SystemExit(1)


def explain(
    run: Path,
    clip: Path | None = None,
    manifest: Path | None = None,
    id: str | None = None,
    out: Path | None = None,
    png: Path | None = None,
    trust_code: bool = False,
) -> None:
    """Shows what a model looked at in a clip, and what it could not do without, as one HTML page.

    Args:
        run: the run folder of the model
        clip: a media file
        manifest: in place of a media file, a CSV or JSONL manifest that names the clip's files
        id: which clip of the manifest
        out: the page; <run>/explain/<clip>.html by default
        png: write the figure alone to this file too
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.explain.page import explain_clip, page_name, write_page, write_picture

    found = explain_clip(run, clip, manifest=manifest, id=id, trust_code=trust_code)
    print(found.found.prediction.label, *(f"{name} {share:.2f}" for name, share in found.found.shares.items()))
    if png:
        print(write_picture(found, png))
    print(write_page(found, out or run / "explain" / page_name(found)))


_MAKING = (demo, prepare, generate, extract, check, train, eval, predict, explain)
_COMPARING = (compare, ablate, study, budget, search_views, cost, report)
VERBS: dict[str, Callable[..., None]] = {verb.__name__.replace("_", "-"): verb for verb in (*_MAKING, *_COMPARING)}
WITH_CONFIG = ("extract", "check", "train", "compare", "ablate", "study", "budget", "search-views")
POSITIONAL = {"prepare": ("data_set", "source"), "extract": ("manifest",), "eval": ("run",), "report": ("folder",)}
POSITIONAL |= {"predict": ("run", "files"), "explain": ("run", "clip")}


def _print_table(out: Path, name: str, failed: list[str]) -> None:
    """The table of all runs below `out`: on the screen, and as <name>.csv, <name>.md and report.html."""
    from rich.console import Console

    from sparsefuse.files import write_text
    from sparsefuse.report import read_runs, rich_table, summarise, table_markdown, write_csv, write_report

    rows = summarise(read_runs(out))
    write_csv(rows, out / f"{name}.csv")
    write_text(out / f"{name}.md", table_markdown(rows))
    Console().print(rich_table(rows))
    print(f"{out / name}.csv  {out / name}.md  {write_report(out)}")
    if failed:
        raise SystemExit("\n".join([f"{len(failed)} runs failed:", *failed]))


def _print_run(out: Path) -> None:
    from rich.console import Console

    from sparsefuse.report import read_runs, rich_table, summarise

    Console().print(rich_table(summarise(read_runs(out))))
