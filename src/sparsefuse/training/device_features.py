"""Training features that stay on the device: the places of a batch come from the CPU, its tokens from there."""

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sparsefuse.config import Config
from sparsefuse.data.clips import Clips
from sparsefuse.data.dataset import ClipDataset
from sparsefuse.data.prepare import watched
from sparsefuse.tokens import Batch, Tokens

log = logging.getLogger(__name__)

SHARE = 0.5
"""of a GPU's free memory that `auto` fills; the rest is for the model and what its backward pass needs"""
AUGMENTED = (
    "modality_dropout",
    "token_dropout",
    "noise",
    "crop",
    "time_warp",
    "rotate",
    "mirror",
    "scale",
    "spec_augment",
    "pictures",
)
"""fields of the data's configuration that change features on the CPU before each step"""


class DeviceFeatures:
    """The tokens of all clips one after another, and last a row of zeros, which is what padding is made of."""

    def __init__(
        self, data: ClipDataset, features: Mapping[str, int], tokens: Mapping[str, int], device: torch.device
    ) -> None:
        """`tokens`: how many there are in all, per modality. From then on `data` keeps no samples in memory."""
        data.cache_mb = 0
        self._x = {name: torch.zeros(tokens[name] + 1, features[name], device=device) for name in sorted(features)}
        self._begin = {name: torch.zeros(len(data), dtype=torch.long) for name in self._x}
        self._length = {name: torch.zeros(len(data), dtype=torch.long) for name in self._x}
        end, labels, self._ids = dict.fromkeys(self._x, 0), list[Tensor](), list[str]()
        for i in watched(range(len(data)), f"moving features to {device}"):
            sample = data[i]
            labels.append(sample.label)
            self._ids.append(sample.id)
            for name, x in sample.features.items():
                self._begin[name][i], self._length[name][i] = end[name], len(x)
                self._x[name][end[name] : end[name] + len(x)] = x
                end[name] += len(x)
        self._labels = torch.stack(labels)

    def places(self, chosen: Sequence[int]) -> Batch:
        """A batch on the CPU, as `collate` makes it of these clips, with its tokens' rows (B, N) in place of x."""
        index, tokens = torch.tensor(chosen), {}
        for name, x in self._x.items():
            length = self._length[name][index][:, None]
            place = torch.arange(max(1, int(length.max())))
            mask = place < length
            tokens[name] = Tokens((self._begin[name][index][:, None] + place).where(mask, len(x) - 1), mask)
        return Batch(tokens, self._labels[index], [self._ids[i] for i in chosen])

    def gathered(self, batch: Batch) -> Batch:
        """The same with its tokens; places and mask are on the device."""
        tokens = {name: Tokens(self._x[name][rows], mask) for name, (rows, mask) in batch.tokens.items()}
        return batch._replace(tokens=tokens)


def check_cache(config: Config, device: torch.device) -> None:
    """Raises ValueError if train.cache is gpu and features cannot stay there."""
    if config.train.cache != "gpu":
        return
    if device.type != "cuda":
        raise ValueError(
            f"train.cache is gpu, but training runs on {device.type}; set train.device=cuda, or cache=auto"
        )
    if changed := next((name for name in AUGMENTED if getattr(config.data, name)), ""):
        raise ValueError(
            f"train.cache is gpu, but data.{changed} changes features on the CPU before each step; keep one of them"
        )


def kept_features(config: Config, clips: Clips, device: torch.device) -> DeviceFeatures | None:
    """By train.cache, the training features on the device, or None: then batches are copied there step by step.

    Raises ValueError if they are to be there and do not fit.
    """
    augmented = any(getattr(config.data, name) for name in AUGMENTED)
    if device.type != "cuda" or config.train.cache == "cpu" or augmented:
        return None
    needed = sum(4 * (clips.tokens[name] + 1) * width for name, width in clips.features.items())
    free, _ = torch.cuda.mem_get_info(device)
    what = f"the training features take {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB of {device} are free"
    if needed > (free if config.train.cache == "gpu" else SHARE * free):
        if config.train.cache == "gpu":
            raise ValueError(f"train.cache is gpu, but {what}; set it to auto")
        log.info("%s: they stay on the CPU", what)
        return None
    log.info("%s: they are kept there", what)
    return DeviceFeatures(clips.splits["train"], clips.features, clips.tokens, device)
