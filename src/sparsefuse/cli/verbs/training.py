"""Verbs that train, score or report runs."""

from pathlib import Path
from typing import Literal

from sparsefuse.cli.verbs._tables import print_run, print_table
from sparsefuse.config import Config


def train(config: Config, out: Path = Path("runs/train"), resume: bool = False) -> None:
    """Trains one model and tests its best checkpoint. Under torchrun, all processes train together.

    Args:
        out: the run folder
        resume: continue a run that was stopped, to the same weights
    """
    from sparsefuse.runs.folder import RunFolder
    from sparsefuse.training.train import train

    train(config, out, resume=resume)
    if RunFolder(out).finished:
        print_run(out)


def eval(
    run: Path,
    split: Literal["train", "valid", "test"] = "test",
    manifest: Path | None = None,
    calibrate: bool = False,
    device: str = "auto",
    trust_code: bool = False,
) -> None:
    """Scores a finished run on a split of its own data, or on all of another manifest.

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
    """Writes one HTML page about all runs below a folder, a study, or a search; it opens from disk, without a network.

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
