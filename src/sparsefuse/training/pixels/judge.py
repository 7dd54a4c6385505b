"""The adversarial part of translation: a second network learns to tell made pictures from real ones; the first, to be
taken for real.

As published it judges every stream's prediction, and not their average. Where a method has but one answer, it judges
that, beside the channels of all streams.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsefuse.config import Config
from sparsefuse.data.pixels.scenes import SceneBatch
from sparsefuse.layers.pixels.discriminator import Discriminator
from sparsefuse.layers.pixels.field import zeroed
from sparsefuse.model.pixels import PixelModel
from sparsefuse.tokens import Field, PixelHeadOutputs
from sparsefuse.training.position import Learner
from sparsefuse.training.schedule import Schedule, new_optimizer

ANSWER = "answer"


class Judge:
    """The second network, with its optimiser."""

    def __init__(self, model: PixelModel, channels: int, size: object, config: Config, device: torch.device):
        """`size`: the generator's, of which the network is as large."""
        spec = replace(config.train, lr=config.pixels.adversarial_lr)
        each = model.head.weight is not None and model.head.loss == "each"
        read = {name: model.streams[name] for name in model.reads}
        self.streams = read if each else {ANSWER: sum(read.values())}
        self.each, self.clip = each, spec.clip
        torch.manual_seed(config.seed + 1)
        self.network = Discriminator(self.streams, channels, size=size).to(device)  # pyright: ignore[reportArgumentType]
        optimizer = new_optimizer(self.network.parameters(), spec)
        self.learner = Learner(self.network, None, optimizer, Schedule(optimizer, spec))

    def learn(self, outputs: PixelHeadOutputs, batch: SceneBatch, step: int, steps: int) -> None:
        """One update, of step `step` of those of an epoch."""
        self.network.requires_grad_(True).train()
        self.learner.optimizer.zero_grad(set_to_none=True)
        fields, made = self._shown(outputs, batch)
        real = dict.fromkeys(made, batch.target * batch.mask[..., None])
        of_made = self._losses(fields, {name: x.detach() for name, x in made.items()}, real=False)
        of_real = self._losses(fields, real, real=True)
        ((of_made + of_real) / 2).mean().backward()
        if self.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.learner.schedule.before_step(step, steps)
        self.learner.optimizer.step()

    def verdict(self, outputs: PixelHeadOutputs, batch: SceneBatch) -> Tensor:
        """(B,) the loss of what is not taken for real, with gradients for the pictures alone."""
        self.network.requires_grad_(False)
        fields, made = self._shown(outputs, batch)
        return self._losses(fields, made, real=True)

    def _shown(self, outputs: PixelHeadOutputs, batch: SceneBatch) -> tuple[dict[str, Field], dict[str, Tensor]]:
        """What pictures were made of, and the pictures (B, H, W, C), 0 where the real one is not known."""
        seen = batch.mask[..., None]
        if self.each:
            made = {name: outputs.logits[:, i] for i, name in enumerate(outputs.names) if name in self.streams}
            return {name: batch.fields[name] for name in made}, {name: x * seen for name, x in made.items()}
        fields = [batch.fields[name] for name in sorted(batch.fields)]
        mask = torch.stack([field.mask for field in fields]).any(0)
        joined = Field(torch.cat([zeroed(field) for field in fields], -1), mask)
        return {ANSWER: joined}, {ANSWER: outputs.logits[:, -1] * seen}

    def _losses(self, fields: dict[str, Field], made: dict[str, Tensor], *, real: bool) -> Tensor:
        """(B,) how far the network is from saying so, over the patches of the streams that are there."""
        total, count = torch.zeros((), device=next(iter(made.values())).device), 0
        for logits, mask in self.network(fields, made).values():
            patches = F.softplus(-logits.float() if real else logits.float())[..., 0]
            total = total + (patches * mask).sum((1, 2))
            count = count + mask.sum((1, 2))
        return total / torch.as_tensor(count).clamp_min(1)
