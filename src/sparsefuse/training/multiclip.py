"""Prediction: a model and samples in, their logits out; of long clips the mean over several windows of each (multi-clip
testing, as MBT's)."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from sparsefuse.data.batches import collate
from sparsefuse.data.dataset import ClipDataset
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.sample import Sample
from sparsefuse.model import FusionModel
from sparsefuse.tokens import Tokens

Streams = dict[str, Tokens]


@torch.inference_mode()
def predict(
    model: FusionModel,
    samples: ClipDataset | Sequence[Sample],
    fit: Lengths,
    num_outputs: int,
    *,
    batches: Iterable[Sequence[int]],
    change: Callable[[Streams], Streams] = lambda tokens: tokens,
) -> Tensor:
    """(n, C) logits of the samples, in their order, batch by batch; 0 for those that are in none of the `batches`.

    `change` is made to each batch before the model sees it.
    """
    outputs = torch.zeros(len(samples), num_outputs, device=next(model.parameters()).device)
    for batch in batches:
        tokens = change(streams(model.eval(), [samples[i] for i in batch]))
        outputs[torch.tensor(batch, device=outputs.device)] = logits(model, tokens, fit)
    return outputs


def streams(model: FusionModel, samples: Sequence[Sample]) -> Streams:
    """What the model reads of the samples as one padded batch, on its device."""
    device = next(model.parameters()).device
    tokens = collate(samples, model.features).tokens
    return {name: Tokens(t.x.to(device), t.mask.to(device)) for name, t in tokens.items()}


def logits(model: FusionModel, tokens: Streams, fit: Lengths) -> Tensor:
    """(B, C) logits of whole clips, the mean over `fit.windows` windows; see `windows`."""
    each = [model(window).logits.float() for window in windows(tokens, fit)]
    return each[0] if len(each) == 1 else torch.stack(each).mean(0)


def windows(tokens: dict[str, Tokens], fit: Lengths) -> Iterator[dict[str, Tokens]]:
    """The clips once per window: of streams longer than `max_length`, that many tokens.

    The starts are evenly spaced from the first token to the last possible one. Streams that are short enough or
    resampled are in every window as they are. If no stream is longer, there is one.
    """
    longer = {name for name, t in tokens.items() if fit.windowed(name) and t.mask.shape[1] > fit.max_length}
    if not longer:
        yield tokens
        return
    for i in range(fit.windows):
        part = i / (fit.windows - 1)
        yield {name: _window(t, fit.max_length, part) if name in longer else t for name, t in tokens.items()}


def _window(tokens: Tokens, size: int, part: float) -> Tokens:
    """`size` tokens of each sample, from `part` of the way to the last possible start."""
    x, mask = tokens
    spare = (mask.sum(1, keepdim=True) - size).clamp_min(0)  # real tokens stand first
    place = (spare * part).round().long() + torch.arange(size, device=mask.device)  # (B, size)
    return Tokens(x.gather(1, place[..., None].expand(-1, -1, x.shape[2])), mask.gather(1, place))
