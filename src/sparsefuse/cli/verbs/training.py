"""Verbs that train, score or report runs."""

from pathlib import Path
from typing import Any, Literal

from sparsefuse.cli.verbs._tables import print_next, print_run, print_table
from sparsefuse.config import Config, Usual
from sparsefuse.config.recipe import Recipe


def fit(
    source: Path,
    method: str = "sft",
    out: Path = Path("runs/fit"),
    label: str | None = None,
    group: str = "group",
    features: dict[str, dict[str, Any]] | Usual = "auto",
    recipe: Recipe = "auto",
    refit: bool = False,
    no_refit: bool = False,
    epochs: int = 0,
    seed: int = 0,
    gmacs: float | None = None,
    time_limit: str = "",
    jobs: int = 0,
) -> None:
    """Makes a model of a folder or table of clips, in one call. Checks, extracts, trains, reports; a rerun continues.

    Args:
        source: a folder per class with films, sound, pictures, text or sensors' .csv files inside; or a manifest
        method: a fusion method, or auto: several are tried, the poor ones for few epochs, and the best on the
            validation split is kept
        out: the run folder; check.html and report.html, clips/ and features/ are in it too
        label: column of a manifest's labels; by default the one called label, or the only one that may be it
        group: column of a manifest that keeps clips in one split: all of one person, or all cut from one film
        features: what to extract: auto = by pretrained encoders where they are installed, else as raw; raw = pixels,
            spectrograms and words; raw,auto = both; or options of one modality, as --features.imu.time ms
        recipe: settings of training: paper = the SFT paper's; small = for a few hundred clips, with noise and hidden
            streams; large = for tens of thousands (docs/data.md says what each sets); auto = paper; with method
            auto, the one for that number of clips is tried too
        refit: train the scored model once more, on the validation clips too, into OUT-refit, which is then the model
            to use; with method auto this is done unasked where whole groups validated and time is left
        no_refit: do not, with method auto
        epochs: passes over the training clips; 0 = what the recipe sets, else 40 for fewer than 500 clips, or 20
        seed: seed of the weights and of the order of clips
        gmacs: limit on multiply-adds per clip, in units of 1e9; auto skips methods that cost more
        time_limit: limit on time for auto, including earlier calls: 90s, 20m, 1.5h; the best model so far is kept
        jobs: processes that extract, or runs at a time; 0 = one per core
    """
    from sparsefuse.experiments.fit import fit

    training: dict[str, Any] = {"recipe": recipe, "refit": refit, "no_refit": no_refit, "epochs": epochs, "seed": seed}
    choice: dict[str, Any] = {"gmacs": gmacs, "time_limit": time_limit, "jobs": jobs}
    columns: dict[str, Any] = {"label": label, "group": group}
    run = fit(source, method=method, out=out, features=features, **columns, **training, **choice)
    manifest = out / "clips" / "manifest.csv" if source.is_dir() else source
    print_next(run, manifest)


def train(
    config: Config,
    out: Path = Path("runs/train"),
    resume: bool = False,
    gmacs: float | None = None,
    time_limit: str = "",
    jobs: int = 0,
    refit: bool = False,
) -> None:
    """Trains one model and tests its best checkpoint. Under torchrun, all processes train together.

    Args:
        out: the run folder
        resume: continue a run that was stopped; its weights become the same. With more --train.epochs, a finished one
        gmacs: with --method auto: limit on multiply-adds per clip, in units of 1e9; methods that cost more are skipped
        time_limit: with --method auto: limit on time, including earlier calls: 90s, 20m, 1.5h; the best so far is kept
        jobs: with --method auto: runs at a time; 0 = one per core, or one at a time on a GPU
        refit: with --method auto: train the chosen one once more, on the validation clips too, in OUT-refit
    """
    from sparsefuse.experiments.auto import beside, train_auto
    from sparsefuse.runs.folder import RunFolder
    from sparsefuse.training.train import train

    if config.method == "auto":
        train_auto(config, out, resume=resume, gmacs=gmacs, time_limit=time_limit, jobs=jobs, refit=refit)
    elif gmacs is not None or time_limit or refit:
        raise ValueError(f"--gmacs, --time-limit and --refit: they need --method auto, not {config.method}")
    else:
        train(config, out, resume=resume)
    if RunFolder(out).finished:
        print_run(out)
        if refit:
            print_run(beside(out))
        print_next(beside(out) if refit else out)


def eval(
    run: Path,
    split: Literal["train", "valid", "test"] = "test",
    manifest: Path | None = None,
    calibrate: bool = False,
    device: str = "auto",
    trust_code: bool = False,
) -> None:
    """Scores a finished run on a split, or on another manifest.

    Args:
        run: the run folder
        split: which split of the run's data
        manifest: another manifest with the same modalities; all its labelled clips are scored, and if some are clips
            of training, the others apart (new_...)
        calibrate: fit the run's temperature to these clips, for probabilities; training fits it to the validation split
        device: cpu, cuda, cuda:1 ...; auto = cuda if there is one, else cpu
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.inference.evaluate import evaluate

    scores = evaluate(run, split=split, manifest=manifest, calibrated=calibrate, device=device, trust_code=trust_code)
    for name, value in scores.items():
        print(f"{name:>9}  {value:.4f}" if isinstance(value, float) else f"{name:>9}  {value}")


def report(folder: Path, out: Path | None = None) -> None:
    """Writes one HTML page about the runs below a folder. Or a study or search; it opens from disk, without a network.

    Args:
        folder: a run folder, a folder of run folders, or a folder that `study` or `budget` wrote
        out: the page; <folder>/report.html by default
    """
    from sparsefuse.budget import page as search_page
    from sparsefuse.report.page import write_report
    from sparsefuse.study import page as study_page

    pages = {"study.json": study_page.write_page, "search.json": search_page.write_page}
    write = next((page for name, page in pages.items() if (folder / name).is_file()), write_report)
    print(write(folder, out))


def print_again(out: Path) -> None:
    """What the verb that made a folder of runs ended with."""
    from sparsefuse.report.page import write_tables

    for name in ("compare", "ablate", "views"):
        if (out / f"{name}.csv").is_file():
            return print_table(write_tables(out, out / name), out / name)
    if (out / "result.json").is_file():
        return print_run(out)
    return report(out)
