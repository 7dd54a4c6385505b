"""Pictures as one vector each, as a packaged network sees them: what distances between sets of pictures are of."""

import numpy as np
import torch
from torch import Tensor

from sparsefuse.features._packaged import PACKAGED
from sparsefuse.features._pretrained import checkpoint

NET = "efficientnet-lite0"
"""Learned of ImageNet's photographs."""
SIZE, MODE = "224 x 224", "bicubic"
"""What pictures of any size and shape are resized to, and how."""
_AT_ONCE = 16


class Seen:
    """Maps pictures to vectors of 1280 numbers, means over the network's last map."""

    def __init__(self, device: torch.device):
        """Raises ImportError, with the command that installs it, if the network's package is not there."""
        self._network = checkpoint(NET)
        self._network.check_weights()
        self._model = self._network.encoder(device, torch.float32)
        self._device = device

    def __call__(self, pictures: list[np.ndarray]) -> Tensor:
        """(H, W, 3) uint8 each, of any sizes -> (n, 1280) float32 on the CPU."""
        return torch.cat([self._see(pictures[i : i + _AT_ONCE]) for i in range(0, len(pictures), _AT_ONCE)])

    def _see(self, pictures: list[np.ndarray]) -> Tensor:
        prepared = torch.cat([self._network.pictures.prepare(picture[None]) for picture in pictures])
        with torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
            out = self._model(pixel_values=prepared.to(self._device), output_hidden_states=False, return_dict=True)
        return out.last_hidden_state.mean((2, 3)).cpu()


def how_to_get() -> str:
    """The command that installs the network's package."""
    return PACKAGED[NET].install
