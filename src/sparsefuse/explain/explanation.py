"""Explains the prediction for one clip: attention rollout, occlusion, and pooled or exchanged tokens."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.data.labels import Labels
from sparsefuse.explain.occlusion import Occlusion, occlusion
from sparsefuse.explain.pooled import Pooled, exchanged, pooled
from sparsefuse.explain.rollout import Rollout, rollout
from sparsefuse.explain.sentence import mattered
from sparsefuse.inference.predictor import Clip, Prediction, Predictor, load
from sparsefuse.model import FusionModel
from sparsefuse.runs.members import members_of
from sparsefuse.tokens import State
from sparsefuse.training import multiclip

NUM_WINDOWS = 12

WHOLE = "The curves are of one pass over the whole clip; the answer is the mean over its windows, as in prediction."


class Explanation(NamedTuple):
    """A prediction, its attention rollout, and the effect of masking parts of the clip."""

    prediction: Prediction
    rollout: dict[str, Tensor]
    """(N,) per modality that the clip has: the share of each token in what the head read (of frames that are cut into
    patches, of each tubelet); all sum to one"""
    shares: dict[str, float]
    """per modality, the sum of its tokens' rollout"""
    learned: float
    """the share of the head's input that came from CLS and other learned tokens, left out of the shares"""
    answer: str
    """the likeliest class, or with several heads one of each; the number, for regression"""
    occlusion: Occlusion
    """of the probability of `answer`; for regression, of the number itself"""
    pooled: dict[str, Pooled]
    """per modality that is pooled by itself (SFT): its pooled tokens, whose shares sum to one over modalities"""
    exchanged: dict[int, dict[str, Tensor]]
    """per layer that swaps tokens (TokenFusion): (N,) bool per modality"""
    notes: tuple[str, ...]
    """where the trace differs from the model's computation"""
    covered: Mapping[str, float] = MappingProxyType({})
    """modality -> the share of the clip that its tokens cover, if they were cut to a longest length; else 1"""

    def sentence(self, seconds: float = 0.0) -> str:
        """What mattered, and whether it stands out from noise; places are in percent of the clip, or in the seconds of
        one that lasts so long."""
        return mattered(self.occlusion, self.answer if self.prediction.probabilities else "", seconds, self.covered)


def explain(
    run: str | Path | Predictor,
    clip: Clip,
    *,
    num_windows: int = NUM_WINDOWS,
    device: str = "cpu",
    trust_code: bool = False,
) -> Explanation:
    """Explains the prediction for one clip; `clip`, `device` and `trust_code` as in `predictor.load`.

    Raises Unusable for a clip of which nothing can be read, ValueError for a method whose attention cannot be traced.
    """
    predictor = run if isinstance(run, Predictor) else load(run, device=device, trust_code=trust_code)
    model = predictor.model
    if members_of(model):
        raise ValueError("attention can be traced in one model, not in an ensemble; explain a member's run folder")
    if not len(model.layers):
        raise ValueError("this model has no attention to trace; explain a fusion method's run, not the baseline's")
    tokens, missing = predictor.tokens(clip)
    states: list[State] = []
    with torch.no_grad():
        model(tokens, probe=lambda _, state: states.append(state))
        logits = multiclip.logits(model, tokens, predictor.fit)
    traced = rollout(model, tokens)
    relevance = {name: _of_frames(model, traced, states[0], name) for name in model.modalities if name not in missing}
    total = sum(float(share.sum()) for share in relevance.values())
    return Explanation(
        predictor.prediction(logits[0].float().cpu(), missing),
        {name: share / total for name, share in relevance.items()},
        {name: float(share.sum()) / total for name, share in relevance.items()},
        1 - total,
        _answer(predictor, logits),
        occlusion(model, tokens, _score(predictor, logits), num_windows=num_windows),
        _sharing(pooled(model, traced, states)),
        exchanged(model, states),
        traced.notes + (WHOLE,) * (len(list(multiclip.windows(tokens, predictor.fit))) > 1),
        {name: _covered(predictor, name, clip) for name in relevance},
    )


def _covered(predictor: Predictor, name: str, clip: Clip) -> float:
    longest = 0 if predictor.fit.windowed(name) else predictor.fit.longest(name)
    return min(1.0, longest / len(predictor.read(name, clip))) if longest else 1.0


def _of_frames(model: FusionModel, traced: Rollout, embedded: State, name: str) -> Tensor:
    """(N,) the relevance of one clip's real tokens; patches of the same frames are added up."""
    tokens = traced.tokens[name][0][embedded.streams[name].mask[0, 1:]].cpu()
    return tokens.unflatten(0, (-1, model.embed.grids[name].cells)).sum(1) if name in model.embed.grids else tokens


def _sharing(pools: dict[str, Pooled]) -> dict[str, Pooled]:
    """Pooled tokens with CLS left out of the sum, as it is of the tokens' shares."""
    total = sum(float(part.relevance.sum()) for part in pools.values())
    return {name: part._replace(relevance=part.relevance / total) for name, part in pools.items()}


def _score(predictor: Predictor, logits: Tensor) -> Callable[[Tensor], Tensor]:
    """Logits (R, C) -> (R,) the probability of the answer, a product if it is of several heads; the number itself, for
    regression."""
    labels = predictor.labels
    if labels.task == "regression":
        return lambda rows: rows[:, 0]
    likeliest = _likeliest(labels, logits)
    return lambda rows: predictor.probabilities(rows)[:, likeliest].prod(1)


def _answer(predictor: Predictor, logits: Tensor) -> str:
    labels = predictor.labels
    if labels.task == "multilabel":  # of which the label may name several, or none
        return labels.classes[_likeliest(labels, logits)[0]]
    return labels.text(labels.likeliest(logits[0]))


def _likeliest(labels: Labels, logits: Tensor) -> list[int]:
    """Index of the likeliest class of each head, in the one row of logits."""
    if labels.task == "heads":
        return labels.indices(labels.text(labels.likeliest(logits[0])))
    return [int(logits[0].argmax())]
