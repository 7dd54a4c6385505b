"""One fit: a model, new clips and old ones in; the model adapted in place, and held-out logits per epoch, out."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse import metrics
from sparsefuse.data.labels import Labels
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.sample import Sample
from sparsefuse.finetune.clips import labels_of
from sparsefuse.finetune.settings import Settings
from sparsefuse.finetune.trainable import Trainable, choose, hold_rows
from sparsefuse.model import FusionModel
from sparsefuse.tokens import State
from sparsefuse.training import multiclip, states
from sparsefuse.training.replay import Replay

CLIP = 0.8
"""largest norm of the gradient, as in training"""
HELD_BATCH = 24


class Material(NamedTuple):
    """The data of a fit."""

    samples: Sequence[Sample]
    """the new clips"""
    state: State | None
    """their states at the depth above which layers are trained; None if all layers are trained"""
    old: Replay | None
    """old clips at the same depth"""
    labels: Labels
    class_weights: Sequence[str]
    """names of the weights that have a row per class"""
    fit: Lengths


class HeldOut(NamedTuple):
    """Loss and held-out logits after an epoch; the first is of the model before training."""

    train_loss: float
    """of the new clips and the old ones together; nan before the first epoch"""
    new: Tensor
    """(n, C) logits of the new clips that are held out"""
    old: Tensor
    """(m, C) of the old ones"""


def fit(
    model: FusionModel, material: Material, settings: Settings, *, epochs: int, new: Sequence[int], old: Sequence[int]
) -> Iterator[HeldOut]:
    """Trains on all clips but the held-out ones (`new` and `old`, by number) for `epochs`; yields one more `HeldOut`.

    The model is in eval mode whenever a `HeldOut` is yielded, and its LoRA weights are not merged.
    """
    trained = choose(model, settings)
    hold_rows(model, material.class_weights, _trained_classes(material.labels, material.samples))
    optimizer = torch.optim.AdamW(trained.parameters, lr=settings.rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(settings.seed)
    train = torch.tensor([i for i in range(len(material.samples)) if i not in set(new)])
    rehearsed = torch.tensor([i for i in range(len(material.old.labels)) if i not in set(old)] if material.old else [])
    yield HeldOut(float("nan"), *_held_out(model, material, trained.depth, new, old))
    for _ in range(epochs):
        loss = 0.0
        for chosen in train[torch.randperm(len(train), generator=generator)].split(settings.batch):
            drawn = (
                rehearsed[torch.randint(len(rehearsed), (settings.batch,), generator=generator)]
                if len(rehearsed)
                else rehearsed
            )
            loss += step(model, material, trained, optimizer, chosen, drawn) * len(chosen)
        yield HeldOut(loss / len(train), *_held_out(model, material, trained.depth, new, old))


def step(
    model: FusionModel,
    material: Material,
    trained: Trainable,
    optimizer: torch.optim.Optimizer,
    new: Tensor,
    old: Tensor,
) -> float:
    """One update by new and old clips (their numbers); returns the mean loss of the new ones plus that of the old."""
    model.train()
    optimizer.zero_grad(set_to_none=True)
    state, labels = (
        _new_state(model, material, trained.depth, new),
        labels_of([material.samples[i] for i in new.tolist()]),
    )
    if material.old and len(old):
        state = states.join([state, states.take(material.old.state, old)])
        labels = torch.cat([labels, material.old.labels[old]])
    outputs, penalty = model.head_outputs(model.through(state, trained.depth))
    labels = labels.to(outputs.logits.device)
    each = torch.zeros((), device=labels.device)
    for logits, weight in zip(outputs.logits.unbind(1), outputs.weights.unbind(1), strict=True):
        each = each + weight * metrics.losses(logits, labels, material.labels.task, heads=material.labels.heads)
    loss = sum((part.mean() for part in (each[: len(new)], each[len(new) :]) if len(part)), penalty)
    if not loss.isfinite():
        raise ValueError(f"the loss is {loss:g}; lower --lr (now {optimizer.param_groups[0]['lr']:g})")
    loss.backward()
    nn.utils.clip_grad_norm_(trained.parameters, CLIP)
    optimizer.step()
    model.eval()
    return float(loss.detach())


def state_of(model: FusionModel, samples: Sequence[Sample], depth: int, fit: Lengths) -> State:
    """Clips at a depth; of long ones the first window, as in training."""
    tokens = next(multiclip.windows(multiclip.streams(model, samples), fit))
    return model.through(model.embed(tokens), last=depth)


def timed(run: Iterator[HeldOut]) -> Iterator[tuple[HeldOut, float]]:
    """Every epoch with the seconds since the one before."""
    start = time.perf_counter()
    for epoch in run:
        yield epoch, time.perf_counter() - start
        start = time.perf_counter()


def _new_state(model: FusionModel, material: Material, depth: int, chosen: Tensor) -> State:
    if material.state is not None:
        return states.take(material.state, chosen)
    return state_of(model, [material.samples[i] for i in chosen.tolist()], depth, material.fit)


@torch.no_grad()
def _held_out(
    model: FusionModel, material: Material, depth: int, new: Sequence[int], old: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Logits of the new and the old clips that are held out, on the CPU."""

    def logits(state: State) -> Tensor:
        found = model.head(model.through(state, depth)).float().cpu()
        if not found.isfinite().all():
            raise ValueError("the model's output for held-out clips is not finite; lower --lr")
        return found

    parts = torch.tensor(new, dtype=torch.long).split(HELD_BATCH) if len(new) else ()
    none = torch.zeros(0, material.labels.num_outputs)
    new_logits = [logits(_new_state(model, material, depth, part)) for part in parts]
    old_logits = logits(states.take(material.old.state, torch.tensor(old))) if material.old and len(old) else none
    return torch.cat([none, *new_logits]), old_logits


def _trained_classes(labels: Labels, samples: Sequence[Sample]) -> Tensor:
    """(C,) bool: the classes that occur in the clips; all of them for tasks without one class per clip."""
    if labels.task == "heads":
        starts = torch.tensor([span.start for span in labels.groups.values()])
        present = (labels_of(samples) + starts).flatten()
    elif labels.task == "class":
        present = labels_of(samples)
    else:
        present = torch.arange(labels.num_outputs)
    return torch.zeros(labels.num_outputs, dtype=torch.bool).index_fill(0, present, True)
