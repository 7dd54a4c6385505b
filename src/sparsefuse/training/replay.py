"""Latent replay: training clips that a run stores, so that adaptation can rehearse them without the data.

A few clips per class, as their state in the trained model where its streams begin to meet (Pellegrini et al. 2020,
"Latent Replay"): the layers above can be trained on them. For SFT that is after pooling, so a clip is small.
"""

import hashlib
import logging
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse import metrics
from sparsefuse.data.dataset import ClipDataset
from sparsefuse.data.labels import Labels
from sparsefuse.files import checkpoint
from sparsefuse.model import FusionModel
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts
from sparsefuse.tokens import State, Tokens
from sparsefuse.training import multiclip, states

log = logging.getLogger(__name__)

LIMIT = 16_000_000
"""bytes that the file may have, about"""
OF_NUMBERS = 100
"""clips that a regression keeps, which has no classes"""
_BATCH = 8
_SEED = 0


class Replay(NamedTuple):
    """States of clips inside the model, and their labels."""

    state: State
    """of n clips at `depth`"""
    labels: Tensor
    """encoded by `Labels.encode`, of the classes of the run"""
    depth: int


def keep(folder: RunFolder, model: FusionModel, data: ClipDataset, per_class: int) -> int:
    """Writes the run's replay clips, from its training clips; returns how many they are."""
    depth = states.fusion_depth(model)
    chosen = _choose(data, per_class)
    parts: list[State] = []
    for i in range(0, len(chosen), _BATCH):
        parts.append(_half(_state(model, data, chosen[i : i + _BATCH], depth)))
        room = LIMIT * min(len(chosen), _BATCH) // _bytes(parts[0])
        if i + _BATCH >= room and len(chosen) > room:
            log.info("%d of %d clips are kept for replay, as many as fit into %d MB", room, len(chosen), LIMIT // 10**6)
            chosen = chosen[: max(room, 1)]
            break
    state = states.take(states.join(parts), torch.arange(len(chosen)))
    labels = torch.stack([data.labels.encode(data.rows[i].label) for i in chosen])
    tensors = {**states.to_tensors(state), "labels": labels}
    checkpoint.save(folder.replay, tensors, {"depth": depth, "below": fingerprint(model, depth)})
    return len(chosen)


def load(folder: RunFolder, model: FusionModel) -> Replay | None:
    """The run's replay clips, or None if there are none. Raises ValueError if other weights computed them, or they do
    not fit the run's model and labels. The states are where the model is, the labels on the CPU."""
    if not folder.replay.is_file():
        return None
    saved = checkpoint.load(folder.replay)
    depth = states.fusion_depth(model)
    if saved.facts.get("depth") != depth or saved.facts.get("below") != fingerprint(model, depth):
        raise ValueError(
            f"{folder.replay} was computed with other weights than those of {folder.path}; compute it again where the "
            f"training clips are (sparsefuse remember {folder.path}), or remove it"
        )
    labels = folder.read(ModelFacts).labels
    with suppress(LookupError, RuntimeError, TypeError, ValueError):
        state = states.to(states.from_tensors(saved.tensors), next(model.parameters()).device)
        found = Replay(state, saved.tensors["labels"], depth)
        if _fits(found, model, labels):
            return found
    raise ValueError(f"{folder.replay} does not hold clips of {folder.path}; remove it, or copy it again")


@torch.no_grad()
def _fits(found: Replay, model: FusionModel, labels: Labels) -> bool:
    """Whether the clips are whole, one of them goes through the model, and the labels are those of its outputs."""
    kept, streams = found.labels, found.state.streams.values()
    shape = 2 if labels.task in ("heads", "multilabel") else 1, labels.task in ("multilabel", "regression")
    first = states.take(found.state, torch.zeros(1, dtype=torch.long))
    logits = model.head(model.through(first, found.depth)).expand(len(kept), -1)
    return (
        (kept.ndim, kept.is_floating_point()) == shape
        and all(mask.dtype == torch.bool and mask.shape == x.shape[:2] and len(x) == len(kept) for x, mask in streams)
        and bool(metrics.losses(logits.cpu(), kept, labels.task, heads=labels.heads).isfinite().all())
    )


def fingerprint(model: FusionModel, depth: int) -> str:
    """A hash of the weights that compute the states at `depth`."""
    digest = hashlib.sha256()
    for part in (model.embed, *model.layers[:depth]):
        for name, tensor in part.state_dict().items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def _state(model: FusionModel, data: ClipDataset, chosen: list[int], depth: int) -> State:
    """The clips at a depth, on the CPU; of long ones the first window, as in training."""
    tokens = next(multiclip.windows(multiclip.streams(model, [data[i] for i in chosen]), data.fit))
    state = model.eval().through(model.embed(tokens), last=depth)
    return State({name: Tokens(t.x.cpu(), t.mask.cpu()) for name, t in state.streams.items()}, torch.zeros(()))


def _half(state: State) -> State:
    """In half precision; values beyond its range are clamped."""
    most = torch.finfo(torch.half).max
    return State(
        {name: Tokens(t.x.clamp(-most, most).half(), t.mask) for name, t in state.streams.items()}, state.penalty
    )


def _bytes(state: State) -> int:
    return sum(t.x.nbytes + t.mask.nbytes for t in state.streams.values())


def _choose(data: ClipDataset, per_class: int) -> list[int]:
    """Up to `per_class` clips of every class, drawn at random; the first of each class come first, then the second."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(_SEED)).tolist()
    if data.labels.task == "regression":
        return order[:OF_NUMBERS] if per_class else []
    drawn: Counter[int] = Counter()
    turns: list[tuple[int, int]] = []
    for i in order:
        classes = data.labels.indices(data.rows[i].label)
        turn = min((drawn[c] for c in classes), default=drawn[-1])
        if turn < per_class:
            drawn.update(classes or [-1])  # a clip of no class, where labels are several
            turns.append((turn, i))
    return [i for _, i in sorted(turns, key=lambda pair: pair[0])]
