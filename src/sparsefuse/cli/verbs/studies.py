"""Verbs that train many models: comparisons, ablations, studies and searches under a budget."""

from pathlib import Path
from typing import Any, Literal

from sparsefuse.cli.verbs._tables import print_run, print_table, stop_if
from sparsefuse.cli.verbs.training import print_again
from sparsefuse.config import Config


def compare(
    config: Config,
    methods: list[str] = [],  # noqa: B006
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    out: Path = Path("runs/compare"),
    modalities: list[Literal["all", "each", "leave-one-out"]] = ["all"],  # noqa: B006
    no_baseline: bool = False,
    untested: bool = False,
    jobs: int = 0,
    engine: Literal["local", "ray"] = "local",
) -> None:
    """Trains several methods; one table has accuracy and cost. Mean ± std over seeds; a rerun adds what is missing.

    Args:
        methods: names (as --method) or .py files, all if not given; unimodal stands for each modality alone
        seeds: one run per method and seed
        out: folder for the run folders, compare.csv, compare.md and report.html
        modalities: each = further rows of every method on each modality alone; leave-one-out = on all but one
        no_baseline: leave out the rows of simple baselines: statistics of the streams and scikit-learn
        untested: leave the test split unused while you choose options; scores are of the validation split
        jobs: runs at a time; 0 = one per core, or one at a time on a GPU
        engine: local = processes of this machine; ray = tasks of a Ray cluster that sees the same files
    """
    from sparsefuse.experiments.grid import compare

    rows: dict[str, Any] = {"modalities": modalities, "baseline": not no_baseline}
    table = compare(config, methods, seeds, out, **rows, tested=not untested, jobs=jobs, engine=engine)
    print_table(table, out / "compare")


def ablate(
    config: Config,
    option: str,
    values: list[Any],
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    out: Path = Path("runs/ablate"),
    untested: bool = False,
    jobs: int = 0,
    engine: Literal["local", "ray"] = "local",
) -> None:
    """Trains one method with several values of one option. One table over all seeds; a rerun adds what is missing.

    Args:
        option: an option of the method (pool), of training (train.lr) or of the data (data.noise)
        values: its values, as avg,max,attn
        seeds: one run per value and seed
        out: folder for the run folders, ablate.csv, ablate.md and report.html
        untested: leave the test split unused while you choose options; scores are of the validation split
        jobs: runs at a time; 0 = one per core, or one at a time on a GPU
        engine: local = processes of this machine; ray = tasks of a Ray cluster that sees the same files
    """
    from sparsefuse.experiments.grid import ablate

    table = ablate(config, option, values, seeds, out, tested=not untested, jobs=jobs, engine=engine)
    print_table(table, out / "ablate")


def study(
    config: Config,
    out: Path = Path("runs/study"),
    jobs: int = 0,
    engine: Literal["local", "ray"] = "local",
) -> None:
    """Runs the SFT paper's experiments on your data. Tables 1-5 and figure 2; a rerun adds what is missing.

    Args:
        out: folder for the runs, the tables and report.html
        jobs: runs at a time; 0 = one per core, or one at a time on a GPU
        engine: local = processes of this machine; ray = tasks of a Ray cluster that sees the same files
    """
    from sparsefuse.study.conduct import study

    studied = study(config, out, jobs=jobs, engine=engine)
    if studied.page:
        print(studied.page)
    stop_if(studied.failed)


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
    refit: bool = False,
    modalities: list[Literal["all", "each", "leave-one-out"]] = ["all"],  # noqa: B006
    out: Path = Path("runs/budget"),
    jobs: int = 0,
) -> None:
    """Finds and trains the best model within a compute budget. Gives the Pareto front, too.

    Args:
        gmacs: limit on multiply-adds per clip, in units of 1e9; at least one of these four limits is needed
        latency_ms: limit on the time for one clip on this machine (median), in milliseconds
        memory_mb: limit on the memory for activations of a training step, per clip, in MB
        params: limit on trainable parameters
        methods: names or .py files to choose from; with --method auto, all but unimodal
        trials: candidates to train; those over the budget do not count
        epochs: passes over the training split per trial; --train.epochs if not given
        seeds: seeds that the finalists are trained with, beside the one of the trials (--seed); with test groups, each
            draws other validation clips
        finalists: how many of the best trials are trained with all seeds; of several methods, always the best of each
        refit: train the chosen model once more, on the validation clips too (with folds, on all), for as many epochs
            as they found best
        modalities: search which ones a model reads, too; each = all or any alone, leave-one-out = all or all but one
        out: folder for the search; a rerun continues it
        jobs: runs at a time; 0 = one per core, or one at a time on a GPU
    """
    from sparsefuse.budget.search import budget
    from sparsefuse.screen import table_console

    limits = {"gmacs": gmacs, "latency_ms": latency_ms, "memory_mb": memory_mb, "params": params}
    effort: dict[str, Any] = {
        "trials": trials,
        "epochs": epochs,
        "seeds": seeds,
        "finalists": finalists,
        "refit": refit,
        "modalities": modalities,
    }
    result = budget(config, methods, out=out, jobs=jobs, **limits, **effort)
    table_console().print(result.front, result.finalists, sep="\n")
    print_run(result.chosen)
    print(*filter(None, [out / "front.csv", result.page, result.yaml, result.chosen, result.refit]), sep="  ")


def search_views(
    config: Config,
    gmacs: float,
    price: float = 0.1,
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    draws: int = 2,
    out: Path = Path("runs/views"),
    jobs: int = 0,
) -> None:
    """Finds which modalities each head of LoCoMT should attend to. Compares them with other choices of the same cost.

    Args:
        gmacs: limit on multiply-adds per clip, in units of 1e9
        price: weight in the loss of the expected attention cost, relative to the cost of self-attention in one modality
        seeds: one run per choice of views and seed
        draws: random choices of views to compare with
        out: folder for views.yaml (the resulting configuration) and runs/, with views.csv, views.md and report.html
        jobs: runs at a time; 0 = one per core, or one at a time on a GPU
    """
    from sparsefuse.budget.views import search_views

    result = search_views(config, gmacs, out, root=Path(), price=price, seeds=seeds, draws=draws, jobs=jobs)
    for layer, views in enumerate(result.views):
        print(f"layer {layer + 1}: " + ", ".join(f"{view} {heads}" for view, heads in views.items()))
    print(result.yaml)
    print_table(result.table, out / "runs" / "views")


def cost(
    lengths: dict[str, int] = {},  # noqa: B006
    features: dict[str, int] = {},  # noqa: B006
    methods: list[str] = [],  # noqa: B006
    num_classes: int = 10,
    options: dict[str, dict[str, Any]] = {},  # noqa: B006
    shapes: Literal["vggs", "mosei"] | None = None,
    measure: bool = False,
    remeasure: Path | None = None,
    device: str = "cpu",
    batch: int = 8,
    precision: Literal["float32", "bfloat16"] = "float32",
    json: bool = False,
    device_profile: list[Path] = [],  # noqa: B006
    memory_mb: int = 256,
    trust_code: bool = False,
) -> None:
    """Counts multiply-adds and parameters of methods. With --measure also memory and latency on this machine.

    Args:
        lengths: tokens per modality, as rgb=38,flow=38,spectrogram=1200
        features: feature size per modality, as rgb=1024,flow=1024,spectrogram=128
        methods: names or .py files; all but unimodal if not given
        num_classes: outputs of the head
        options: per method, as sft.sparse=dense
        shapes: the SFT paper's shapes and options in place of lengths, features and num_classes; adds its figures
        measure: measure memory and latency too
        remeasure: a run folder, or a folder of runs: measure their memory and latency again, and write their tables
        device: with --measure, where: cpu, cuda, cuda:1 ...; auto = cuda if there is one, else cpu
        batch: with --measure, clips in a batch
        precision: with --measure; bfloat16 = by autocast, against the same floor, that of float32
        json: print JSON
        device_profile: run folders, .onnx files or a budget's folder (its front), A,B: their cost on one thread, as
            float32, bfloat16 and int8
        memory_mb: with --device-profile, the memory limit of a process with onnxruntime; 0 = none
        trust_code: with --device-profile and --remeasure, allow a run whose method or extractor is a .py file
    """
    from sparsefuse.cost.table import Measuring, ledger, show
    from sparsefuse.experiments.measuring import remeasure as measure_again
    from sparsefuse.export.device import profiles
    from sparsefuse.methods import fusions

    if remeasure:
        measure_again(remeasure, trust_code=trust_code)
        print_again(remeasure)
    elif device_profile:
        profiles(device_profile, memory_mb=memory_mb, as_json=json, trust_code=trust_code)
    else:
        how = Measuring(device, batch, precision) if measure else None
        names = methods or fusions()
        rows = ledger(names, lengths, features, num_classes, options, shapes=shapes, measuring=how)
        show(rows, as_json=json)
