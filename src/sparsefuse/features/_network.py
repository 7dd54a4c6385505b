"""A packaged model whose network is restated here, as a checkpoint: what `_pretrained.Checkpoint` has, without
`transformers`.

No pickle is executed: what stands beside the weights is read by `torch.load(weights_only=True)`, or not at all.
"""

import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from sparsefuse.features import _efficientnet as pictures_net
from sparsefuse.features._packaged import PACKAGED, weights
from sparsefuse.features._pictures import Pictures
from sparsefuse.features._sound_effects import SoundEffectsNet, SoundFrontEnd


class Network:
    """EfficientNet-Lite0, or the network of aiSFX."""

    def __init__(self, name: str) -> None:
        self.model, self.kind = name, PACKAGED[name].kind
        self.config = SimpleNamespace(model_type=name)
        self._loaded: dict[tuple[torch.device, torch.dtype], nn.Module] = {}

    def fingerprint(self) -> str:
        """The model's identity."""
        return f"{self.model} {PACKAGED[self.model].sha256}"

    def check_weights(self) -> None:
        """Raises ImportError if they are not installed, ValueError for others."""
        weights(self.model)

    @property
    def pictures(self) -> Pictures:
        """Preprocessing of pixels."""
        net = pictures_net
        same = {"short": None, "crop": None, "mode": "bicubic", "scale": 1.0, "offset": 0.0}
        return Pictures(size=(net.SIDE, net.SIDE), mean=(net.MEAN,) * 3, std=(net.STD,) * 3, **same)

    @cached_property
    def feature_extractor(self) -> SoundFrontEnd:
        """From sound to the network's input."""
        return SoundFrontEnd()

    def encoder(self, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """The network with its weights."""
        if (device, dtype) not in self._loaded:
            net = pictures_net.EfficientNetLite0() if self.kind == "vision" else SoundEffectsNet()
            net.load((_legacy if self.kind == "vision" else _zipped)(weights(self.model)))
            self._loaded[device, dtype] = _Encoder(net).to(device, dtype).eval().requires_grad_(False)
        return self._loaded[device, dtype]


class _Encoder(nn.Module):
    """Is called as a model of transformers."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, *, output_hidden_states: bool, return_dict: bool, **inputs: Tensor) -> Any:
        if output_hidden_states:
            raise ValueError("layer is not -1, and of a packaged network there is only the output")
        (x,) = inputs.values()
        return SimpleNamespace(last_hidden_state=self._net(x))


def _legacy(path: Path) -> Iterator[Tensor]:
    """The tensors of a state dict that torch wrote before 1.6, in its order."""
    return iter(torch.load(path, map_location="cpu", weights_only=True).values())


def _zipped(path: Path) -> Iterator[Tensor]:
    """The tensors of a state dict that torch wrote since, in its order, each as flat numbers; the pickle that names
    them is not read."""
    with zipfile.ZipFile(path) as file:
        for number in range(len(file.namelist())):
            yield torch.frombuffer(bytearray(file.read(f"archive/data/{number}")), dtype=torch.float32)
