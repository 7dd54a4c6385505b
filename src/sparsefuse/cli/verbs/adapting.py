"""Verbs that join trained models, adapt one, and share it."""

from pathlib import Path
from typing import Literal

from sparsefuse.cli.verbs._tables import print_next, print_run
from sparsefuse.config import Config
from sparsefuse.shown import counted


def distill(
    config: Config,
    teachers: list[Path],
    gmacs: float | None = None,
    unlabelled: Path | None = None,
    out: Path = Path("runs/distilled"),
    resume: bool = False,
) -> None:
    """Trains a model on other runs' predictions as well as labels. Without --config its settings are the first run's.

    Args:
        teachers: run folders with the same classes, whose calibrated logits are averaged
        gmacs: limit on multiply-adds per clip, in units of 1e9; options are made cheaper until the model fits
        unlabelled: a manifest of further training clips without labels
        out: the run folder
        resume: continue a run that was stopped; the weights become the same
    """
    from sparsefuse.distill.student import distill
    from sparsefuse.runs.folder import RunFolder
    from sparsefuse.runs.records import Result
    from sparsefuse.runs.summary import taught

    more = {"unlabelled": str(unlabelled)} if unlabelled else {}
    distill(teachers, out, gmacs=gmacs, config=config, resume=resume, distill=more)
    print_run(out)
    print(taught(RunFolder(out).read(Result)))
    print_next(out)


def ensemble(
    runs: list[Path], out: Path = Path("runs/ensemble"), name: str = "ensemble", trust_code: bool = False
) -> None:
    """Combines runs into one that averages their predictions. It averages calibrated logits.

    Args:
        runs: run folders with the same classes, two or more; method, options, seed and modalities may differ
        out: the new run folder
        name: what it is called in tables
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.inference.ensemble import ensemble

    print_run(ensemble(runs, out, name=name, trust_code=trust_code))
    print_next(out)


def finetune(
    run: Path,
    clips: Path,
    out: Path,
    weights: Literal["head", "fusion", "lora", "all"] = "fusion",
    epochs: int = 10,
    lr: float | None = None,
    rank: int = 4,
    no_replay: bool = False,
    new_classes: bool = False,
    test: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    trust_code: bool = False,
) -> None:
    """Adapts a model to a few clips of one user. The model stays as it is; a new run folder is written.

    Args:
        run: the run folder of the model
        clips: a CSV or JSONL manifest of features or media with their labels; two clips per class are enough
        out: the new run folder
        weights: what is trained: the head alone; fusion layers and head; the same by low-rank adapters (LoRA);
            everything
        epochs: most passes over the clips; held-out clips decide how many are used
        lr: learning rate; the default depends on `weights`
        rank: rank of the low-rank adapters
        no_replay: do not train on the old clips that the run stores
        new_classes: allow new classes, with two clips or more each
        test: a manifest of clips that are not trained on; the model is scored on them before and after
        seed: seed of the order of clips and of the folds
        device: cpu, cuda, cuda:1 ...; auto = cuda if there is one, else cpu
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.finetune import Settings
    from sparsefuse.finetune import finetune as adapt
    from sparsefuse.finetune.summary import summary

    settings = Settings(weights, epochs, lr, rank, replay=not no_replay, seed=seed)
    new = adapt(
        run,
        clips,
        out,
        settings=settings,
        test=test,
        new_classes=new_classes,
        device=device,
        trust_code=trust_code,
    )
    print(summary(new))


def remember(run: Path, clips: int = 4, trust_code: bool = False) -> None:
    """Stores training clips in a run, for finetune to rehearse. `train` does so by default.

    Args:
        run: the run folder; its training clips must be at their original paths
        clips: how many per class
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.inference.evaluate import open_run
    from sparsefuse.runs.folder import RunFolder
    from sparsefuse.training import replay

    if clips < 1:
        raise ValueError(f"--clips is {clips}; expected 1 or more")
    opened = open_run(run, split="train", trust_code=trust_code)
    folder = RunFolder(run)
    count = replay.keep(folder, opened.predictor.model, opened.data, clips)
    print(f"{folder.replay}: {counted(count, 'clip')}, {folder.replay.stat().st_size / 1e6:.2f} MB")


def push(
    run: Path,
    target: str,
    public: bool = False,
    license: str | None = None,
    data: str | None = None,
    with_replay: bool = False,
    dry_run: bool = False,
) -> None:
    """Shares a run, on the Hugging Face hub or as a folder. A model card too; prints each file before it is sent.

    Args:
        run: the run folder
        target: hub://owner/name, or a folder: one that exists, or ./name
        public: let everyone see the repository; else it is private
        license: the licence of the weights, by the hub's identifier, such as apache-2.0
        data: a sentence on the data it was trained on, for the card
        with_replay: share the old clips stored for finetune too; they reveal something about these clips
        dry_run: list the files without sending them
    """
    from sparsefuse.sharing import push

    sent = push(run, target, private=not public, license=license, data=data, with_replay=with_replay, dry_run=dry_run)
    print(sent)


def pull(source: str, out: Path, revision: str | None = None, trust_models: bool = False) -> None:
    """Fetches a run from the hub or a folder, and checks it. Nothing in it is executed.

    Args:
        source: hub://owner/name, or a folder
        out: the new run folder
        revision: a commit, branch or tag of the hub
        trust_models: keep extractors that name a model, a table or a path, which prediction then reads or fetches
    """
    from sparsefuse.sharing import pull

    print(pull(source, out, revision=revision, trust_models=trust_models))
