"""Prediction: a model and samples in, their logits out; of long clips the mean over several windows of each (multi-clip
testing, as MBT's)."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from sparsefuse.data.batches import collate
from sparsefuse.data.dataset import ClipDataset
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.sample import Sample
from sparsefuse.files.skipped import Unusable
from sparsefuse.model import FusionModel, Probe
from sparsefuse.tokens import Output, Tokens

Streams = dict[str, Tokens]

MOST = 1e15
"""of a logit: its square, and what a temperature makes of it, are finite in float32"""


@torch.inference_mode()
def predict(
    model: FusionModel,
    samples: ClipDataset | Sequence[Sample],
    fit: Lengths,
    num_outputs: int,
    *,
    batches: Iterable[Sequence[int]],
    change: Callable[[Streams], Streams] = lambda tokens: tokens,
    probe: Probe | None = None,
) -> Tensor:
    """(n, C) logits of the samples, in their order, batch by batch; 0 for those that are in none of the `batches`.

    `change` is made to each batch before the model sees it; `probe` is called at each depth of every pass. Raises
    Unusable, naming the sample, for an output that is not finite.
    """
    outputs = torch.zeros(len(samples), num_outputs, device=next(model.parameters()).device)
    for batch in batches:
        chosen = [samples[i] for i in batch]
        tokens = change(streams(model.eval(), chosen))
        names = [f"clip {sample.id}: " for sample in chosen]
        outputs[torch.tensor(batch, device=outputs.device)] = logits(model, tokens, fit, names, probe)
    return outputs


def streams(model: FusionModel, samples: Sequence[Sample]) -> Streams:
    """What the model reads of the samples as one padded batch, on its device."""
    device = next(model.parameters()).device
    tokens = collate(samples, model.features).tokens
    return {name: Tokens(t.x.to(device), t.mask.to(device)) for name, t in tokens.items()}


def logits(
    model: Callable[..., Output], tokens: Streams, fit: Lengths, names: Sequence[str] = (), probe: Probe | None = None
) -> Tensor:
    """(B, C) logits of whole clips, the mean over `fit.windows` windows; see `windows`.

    Raises Unusable for the first clip whose logits are not finite; its name, if there are `names`, begins the message.
    """
    each = [model(window, probe=probe).logits.float() for window in windows(tokens, fit)]
    found = each[0] if len(each) == 1 else torch.stack(each).mean(0)
    for i in (~(found.abs() < MOST).all(1)).nonzero().flatten().tolist():
        value = float(found[i][~(found[i].abs() < MOST)][0])
        raise Unusable(
            f"{names[i] if names else ''}the model's output is {value:g}, not a finite number below {MOST:g}; its "
            "features are extreme, or training diverged (then lower the learning rate)"
        )
    return found


def windows(tokens: dict[str, Tokens], fit: Lengths) -> Iterator[dict[str, Tokens]]:
    """The clips once per window: of streams longer than `max_length`, that many tokens.

    The starts are evenly spaced from the first token to the last possible one. Streams that are short enough or
    resampled are in every window as they are. If no stream is longer, there is one. Where a frame is several tokens, a
    window begins with its first one.
    """
    longer = {name for name, t in tokens.items() if fit.windowed(name) and t.mask.shape[1] > fit.longest(name)}
    if not longer:
        yield tokens
        return
    for i in range(fit.windows):
        part = i / (fit.windows - 1)
        yield {
            name: _window(t, fit.longest(name), fit.frame(name), part) if name in longer else t
            for name, t in tokens.items()
        }


def _window(tokens: Tokens, size: int, frame: int, part: float) -> Tokens:
    """`size` tokens of each sample, from `part` of the way to the last possible start; `frame` tokens each are one."""
    x, mask = tokens
    spare = (mask.sum(1, keepdim=True) - size).clamp_min(0)  # real tokens stand first
    place = (spare // frame * part).round().long() * frame + torch.arange(size, device=mask.device)  # (B, size)
    return Tokens(x.gather(1, place[..., None].expand(-1, -1, x.shape[2])), mask.gather(1, place))
