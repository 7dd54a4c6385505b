"""More epochs for a run that was planned for fewer: it goes on from its last checkpoint."""

import logging
from dataclasses import replace

from sparsefuse.config import Config
from sparsefuse.files import checkpoint
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Calibration, Result
from sparsefuse.training.schedule import share

log = logging.getLogger(__name__)


def planned(folder: RunFolder, config: Config) -> int:
    """The epochs that the run was planned for, if the configuration asks for more; else 0. Raises FileNotFoundError if
    it has ended and kept no checkpoint."""
    before = folder.read(Config).train.epochs if folder.started else config.train.epochs
    if before >= config.train.epochs:
        return 0
    if folder.finished and not folder.checkpoint.exists():
        raise FileNotFoundError(
            f"{folder.path} has finished its {before} epochs, and {folder.checkpoint.name}, to continue from, is not "
            "there (a run that was shared or adapted has none); train again in another folder"
        )
    return before


def with_epochs(config: Config, epochs: int) -> Config:
    """The configuration with this many epochs."""
    return replace(config, train=replace(config.train, epochs=epochs))


def check_continues(folder: RunFolder, config: Config) -> None:
    """Raises ValueError, before data are read or extracted, if the run was started with other settings than those of
    `config`, but for its manifest and longest stream, which come of the data."""
    if folder.started:
        began = folder.read(Config).data
        data = replace(config.data, manifest=began.manifest, max_length=began.max_length)
        before = planned(folder, config)
        folder.check_same(replace(with_epochs(config, before) if before else config, data=data))


def extend(folder: RunFolder, config: Config, before: int) -> None:
    """Makes a run of `before` epochs an unfinished one of more. What sets it apart from one that was planned so goes
    into its checkpoint, and from there into its result."""
    result, spec = folder.get(Result), config.train
    caveats = []
    if result and result.test:
        caveats.append(f"the test split was already scored after {result.epochs} epochs, and then again")
    if spec.schedule == "cosine" and folder.num_epochs:
        rate = spec.lr * share(folder.num_epochs, steps=1, spec=spec)
        caveats.append(
            f"the cosine was planned for {before} epochs; extended to {spec.epochs}, it went on at {rate:.3g}"
        )
    if spec.swa:
        caveats.append(f"the mean of the last weights was planned for {before} epochs; in some it may have been scored")
    log.info("%s continues after epoch %d, to epoch %d", folder.path, folder.num_epochs, spec.epochs)
    _keep(folder, caveats, new_mean=bool(spec.swa))
    for file in (
        folder.file(Result),
        folder.file(Calibration),  # of the weights before; where training is stopped, nothing replaces it
        folder.predictions,
        folder.pictures,
    ):  # the configuration is written after they are gone
        file.unlink(missing_ok=True)


def end(folder: RunFolder, config: Config) -> Config:
    """Makes a run that was stopped one that is planned for the epochs it has; returns its configuration. Trained with
    that, it gets its results."""
    done = folder.num_epochs
    if done < config.train.epochs:
        _keep(folder, [f"it ended after {done} of {config.train.epochs} epochs: the time limit was reached"])
    ended = with_epochs(config, done)
    folder.write_located(ended)
    return ended


def _keep(folder: RunFolder, caveats: list[str], *, new_mean: bool = False) -> None:
    """Adds them to the checkpoint."""
    if caveats and folder.checkpoint.exists():
        saved = checkpoint.load(folder.checkpoint)
        progress = saved.facts["progress"]
        progress["warnings"] = list(dict.fromkeys([*progress.get("warnings", []), *caveats]))
        if new_mean:
            saved.tensors["mean/n_averaged"].zero_()  # it begins anew
        checkpoint.save(folder.checkpoint, saved.tensors, saved.facts)
