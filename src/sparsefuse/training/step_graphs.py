"""A step of training as a CUDA graph: its kernels are captured once per kind of step, and then launched as one.

A step of a small model is hundreds of kernels of microseconds each, and launching them takes longer than they do.
"""

import gc
import logging
import math
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils._pytree import tree_flatten, tree_unflatten

from sparsefuse.config import Config
from sparsefuse.layers.fused import has_global_hooks
from sparsefuse.layers.ops.tracing import dispatched
from sparsefuse.tokens import Tokens

log = logging.getLogger(__name__)

SMALL = 10e9
"""multiply-adds of a batch's forward pass up to which `auto` captures; beyond, kernels take longer than launches"""
EAGER = 2
"""steps of a kind that run as they are: kernels are compiled, and libraries set up, outside of a graph"""
MOST = 64
"""graphs that are kept; which was used longest ago goes first. They share their memory, as one runs at a time"""

Step = Callable[..., Tensor]
"""Tensors, and what else tells one kind of step from another, in; the summed loss out, and gradients in parameters."""


def check_graphs(config: Config, device: torch.device, world: int) -> None:
    """Raises ValueError if train.cuda_graphs is always and steps cannot be captured."""
    if config.train.cuda_graphs != "always":
        return
    if device.type != "cuda":
        raise ValueError(
            f"train.cuda_graphs is always, but training runs on {device.type}; set train.device=cuda, or "
            "cuda_graphs=auto"
        )
    if world > 1:
        raise ValueError(
            f"train.cuda_graphs is always, but {world} processes train together, whose exchange is not captured; set "
            "it to auto"
        )


def should_capture(config: Config, device: torch.device, world: int, macs: float) -> bool:
    """Whether steps are captured, by train.cuda_graphs, which it says; `macs` of a clip's forward pass. `auto` leaves a
    method in a file of one's own as it is: what its Python does in each step, as drawing numbers, a graph would not."""
    how, small = config.train.cuda_graphs, macs * config.train.batch_size <= SMALL
    safe = small and not config.method.endswith(".py")
    if device.type != "cuda" or world > 1 or not (how == "always" or (how == "auto" and safe)):
        return False
    log.info("steps are captured as CUDA graphs, one per shape of a batch and depth of mixup")
    return True


def rounded(length: int, longest: int) -> int:
    """Tokens to which a batch of `length` is padded, so that lengths recur: two for every power of two, or `longest`,
    the most that any clip has, if that is less."""
    if length <= 2:
        return length
    power = 2 ** math.floor(math.log2(length - 1))  # power < length <= 2 power
    return max(length, min(power * 3 // 2 if length <= power * 3 // 2 else 2 * power, longest))


def padded(tokens: Mapping[str, Tokens], longest: Mapping[str, int] = MappingProxyType({})) -> dict[str, Tokens]:
    """The same, padded to `rounded` lengths. What stands in padding no model reads (see `Embed`)."""
    longer = {}
    for name, (x, mask) in tokens.items():
        more = rounded(mask.shape[1], longest.get(name, sys.maxsize)) - mask.shape[1]
        longer[name] = Tokens(pad(x, (0, 0) * (x.ndim - 2) + (0, more)), pad(mask, (0, more)))
    return longer


class Capture:
    """Captures CUDA graphs, and is where steps run: all in one stream, since autograd keeps the one in which it first
    saw a weight."""

    def __init__(self, device: torch.device):
        self.device, self.stream = device, torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within it the stream is this one, after all that was launched before."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)

    def capture(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """What `work` would return, not yet computed, and what computes it. Raises RuntimeError if it cannot be
        captured, as when it waits for the device."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self.device)
        collecting = gc.isenabled()
        gc.disable()  # what it frees may be a graph, and that is not allowed meanwhile
        try:
            graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
            try:
                output = work()
            except BaseException:
                _end(graph)
                raise
            graph.capture_end()
        finally:
            if collecting:
                gc.enable()
        return output, graph.replay


def _end(graph: torch.cuda.CUDAGraph) -> None:
    """Ends a capture that failed."""
    try:
        graph.capture_end()
    except RuntimeError as error:
        log.debug("a capture that failed: %s", error)


class _Captured(NamedTuple):
    inputs: list[Tensor]
    replay: Callable[[], None]
    loss: Tensor
    gradients: list[Tensor | None]


class StepGraphs:
    """Calls `step`, or from its third call of a kind on replays what was captured of it.

    A kind is the shapes and dtypes of tensors, and all else that the arguments (nested tuples and dicts) hold. `step`
    must follow from its arguments and the weights alone, and draw random numbers on the device only. While something
    watches modules or operations (global hooks, dispatch modes), it is called.
    """

    def __init__(self, step: Step, parameters: Sequence[nn.Parameter], capture: Any):
        """`capture`: a `Capture`, or what is like it."""
        self.step, self.parameters, self.capture = step, parameters, capture
        self.seen: Counter[Any] = Counter()
        self.kept: OrderedDict[Any, _Captured] = OrderedDict()
        self.works = True
        """whether capturing does"""

    def __call__(self, *args: Any) -> Tensor:
        """The summed loss, on the device and valid until the next call; gradients are in the parameters."""
        if not self.works or has_global_hooks() or dispatched():
            with self.capture.running():
                return self.step(*args)
        leaves, structure = tree_flatten(args)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        kind = str(structure), *((leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        with self.capture.running():
            found = self.kept.get(kind)
            if found is None:
                self.seen[kind] += 1
                if self.seen[kind] <= EAGER:
                    return self.step(*args)
                found = self._captured(leaves, structure)
                if found is None:
                    return self.step(*args)
                self.kept[kind] = found
                if len(self.kept) > MOST:
                    self.kept.popitem(last=False)
            self.kept.move_to_end(kind)
            for own, given in zip(found.inputs, tensors, strict=True):
                own.copy_(given, non_blocking=True)
            found.replay()
            for parameter, gradient in zip(self.parameters, found.gradients, strict=True):
                parameter.grad = gradient
            return found.loss

    def _captured(self, leaves: list[Any], structure: Any) -> _Captured | None:
        """None, said once, if it cannot be captured: then steps run as they are."""
        own = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args = tree_unflatten(own, structure)
        try:
            loss, replay = self.capture.capture(lambda: self.step(*args))
        except RuntimeError as error:
            self.works = False
            log.warning(
                "a step cannot be captured as a CUDA graph (%s): kernels are launched one by one, which gives the same "
                "and is slower; cuda_graphs=never says so without trying",
                str(error).strip().split("\n")[0],
            )
            return None
        inputs = [leaf for leaf in own if isinstance(leaf, Tensor)]
        return _Captured(inputs, replay, loss, [parameter.grad for parameter in self.parameters])
