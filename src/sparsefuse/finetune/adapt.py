"""Adapts a run to a user's clips: a run folder and clips in, a new run folder out. The old one is only read."""

import copy
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from sparsefuse.config import Config
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.sample import Sample
from sparsefuse.finetune.clips import by_class, read_clips
from sparsefuse.finetune.effort import measured_effort
from sparsefuse.finetune.fit import HELD_BATCH, Material, fit, state_of, timed
from sparsefuse.finetune.folds import cross_validate
from sparsefuse.finetune.grow import class_weights, grown
from sparsefuse.finetune.record import Outcome, write_run
from sparsefuse.finetune.settings import Settings
from sparsefuse.finetune.trainable import depth_of, merge
from sparsefuse.finetune.trial import trial
from sparsefuse.inference.predictor import load
from sparsefuse.model import FusionModel
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts
from sparsefuse.tokens import State
from sparsefuse.training import replay, states

log = logging.getLogger(__name__)


def finetune(
    run: Path,
    manifest: Path,
    out: Path,
    *,
    settings: Settings | None = None,
    test: Path | None = None,
    new_classes: bool = False,
    measured: bool = True,
    device: str = "cpu",
    trust_code: bool = False,
) -> Path:
    """Adapts the model of `run` to the clips of `manifest` and writes the run folder `out`, which loads like any other.

    `manifest` and `test` name features or media; media become features by the run's own options. The clips of `test`
    are not trained on: the model is scored on them before and after. `device`, `trust_code`: see `predictor.load`.
    Raises FileExistsError if `out` is not empty, ValueError if it lies in `run` or the clips cannot be used.
    """
    settings = settings or Settings()
    check_out(run, out)
    predictor = load(run, device=device, trust_code=trust_code)
    folder = RunFolder(run)
    data, facts = folder.read(Config).data, folder.read(ModelFacts)
    if facts.members is not None:
        raise ValueError(f"{run} is an ensemble; adapt one of its members, or a model distilled from it")
    read = partial(read_clips, predictor, label=data.label, separator=data.separator)
    clips = read(manifest, predictor.labels, new_classes=new_classes)
    held = read(test, clips.labels) if test else None
    if held and (both := held.ids_among(clips)):
        count = f"{len(both)} of {len(held.rows)} clips"
        raise ValueError(f"{test}: {count} are in {manifest} too, such as {both[0]}; the test needs others")
    before, now = predictor.labels.num_outputs, clips.labels.num_outputs
    with torch.random.fork_rng([predictor.device] if predictor.device.type == "cuda" else []):
        torch.manual_seed(settings.seed)  # dropout's
        model = grown(predictor.model, facts, before, now).to(predictor.device)
        old = _old(folder, predictor.model, model, settings) if settings.replay else None
        rows = class_weights(facts, before) if predictor.labels.task != "regression" else []
        depth = depth_of(model, settings)
        state = None if settings.weights == "all" else _states(model, clips.samples, depth, predictor.fit)
        material = Material(clips.samples, state, old, clips.labels, rows, predictor.fit)
        validated = cross_validate(model, material, settings, by_class(clips))
        if not validated.lines:
            log.warning(
                "no two clips share a class, so none is held out: %d epochs, without validation", validated.epochs
            )
        adapted = copy.deepcopy(model)
        seconds = [s for _, s in timed(fit(adapted, material, settings, epochs=validated.epochs, new=(), old=()))]
        effort = measured_effort(copy.deepcopy(model), material, settings) if measured else None
        merge(adapted)
        adapted.requires_grad_(True).eval()
    comparison = trial(model, adapted, held, predictor.fit) if held else None
    outcome = Outcome(adapted, predictor.stats, clips, validated, effort, comparison, sum(seconds))
    write_run(folder, RunFolder(out), outcome, settings, manifest=manifest, device=device, measured=measured)
    return out


def check_out(run: Path, out: Path) -> None:
    """Raises ValueError or FileExistsError if writing `out` could overwrite the run that is adapted, or other files."""
    here, there = run.resolve(), out.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise ValueError(f"--out {out} and the run {run} must not contain each other; give another folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not empty; give another folder for the new run")


def _old(folder: RunFolder, original: FusionModel, model: FusionModel, settings: Settings) -> replay.Replay | None:
    """The replay clips, at the depth above which layers are trained."""
    stored = replay.load(folder, original)
    if stored is None:
        log.warning(
            "%s has no old clips for replay, so only the few epochs limit forgetting; where its training clips are, "
            "`sparsefuse remember %s` adds them", folder.path, folder.path,
        )  # fmt: skip
        return None
    depth = depth_of(model, settings)
    with torch.no_grad():
        return stored._replace(state=model.eval().through(stored.state, stored.depth, depth), depth=depth)


@torch.no_grad()
def _states(model: FusionModel, samples: Sequence[Sample], depth: int, fit: Lengths) -> State:
    """States of all clips at the depth above which layers are trained; the layers below do not change."""
    parts = [samples[i : i + HELD_BATCH] for i in range(0, len(samples), HELD_BATCH)]
    return states.join([state_of(model.eval(), part, depth, fit) for part in parts])
