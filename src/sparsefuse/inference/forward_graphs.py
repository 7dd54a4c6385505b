"""Forward passes for use as CUDA graphs: a small model's kernels take less time than launching them one by one."""

import logging
from threading import Lock
from typing import Any, Literal

import torch

from sparsefuse.model import FusionModel, Probe
from sparsefuse.tokens import Output, Tokens
from sparsefuse.training.step_graphs import Capture, StepGraphs, padded

log = logging.getLogger(__name__)

SMALL = 16_384
"""tokens of a batch, with its padding, up to which it is captured; beyond, kernels take longer than launches"""

When = Literal["auto", "always", "never"]


class ForwardGraphs:
    """Calls a model, or from the third batch of a shape on replays what was captured of it.

    Streams are padded, so that shapes recur, whether or not it is captured: so a clip has the same output every time.
    The model must stay as it is but for the values of its weights. Threads take turns.
    """

    def __init__(self, model: FusionModel, capture: Any) -> None:
        """`capture`: a `Capture`, or what is like it."""
        self.model, self.capture = model, capture
        self._graphs = StepGraphs(lambda tokens: model(tokens).logits, (), capture)
        self._turn = Lock()

    def __call__(self, tokens: dict[str, Tokens], probe: Probe | None = None) -> Output:
        """As the model's, with logits on the CPU; of many tokens, or with a `probe`, the model's own."""
        if probe is not None or sum(t.mask.numel() for t in tokens.values()) > SMALL:
            return self.model(tokens, probe=probe)
        with self._turn, self.capture.running():
            # a copy, before another thread's replay is written there
            logits = self._graphs(padded(tokens)).to("cpu", copy=True)
        return Output(logits, logits.new_zeros(()))


def forward_graphs(model: FusionModel, device: torch.device, when: When, *, own_method: bool) -> ForwardGraphs | None:
    """None if passes are not to be captured. `auto` does on a GPU, but not of a method in a file of one's own, whose
    Python, as drawing numbers, a graph would leave out. Raises ValueError if it is `always`, but not on a GPU."""
    if when == "never" or (when == "auto" and (device.type != "cuda" or own_method)):
        return None
    if device.type != "cuda":
        raise ValueError(f"cuda_graphs is always, but the model is on {device.type}; give device=cuda, or auto")
    log.info("forward passes are captured as CUDA graphs, one per shape of a batch")
    return ForwardGraphs(model, Capture(device))
