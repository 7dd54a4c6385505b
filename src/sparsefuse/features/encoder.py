"""Hidden states of a pretrained model as tokens, of a film, its sound, or a text."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sparsefuse.features._pretrained import Checkpoint, Kind, States, checkpoint, states
from sparsefuse.features._transcript import read_text
from sparsefuse.media import Channels, Choice, File, FileRequest, Frames, FramesRequest, Request, SoundRequest
from sparsefuse.parallel.devices import device_of

SOURCE = "video"
PACKAGES = ("transformers", "tokenizers")
FILES = ("model",)

_OUTPUTS: dict[Kind, tuple[str, ...]] = {
    "vision": ("frame", "token"),
    "video": ("clip", "token"),
    "audio": ("token", "clip"),
    "text": ("token", "clip"),
}
_WINDOW = 30.0  # seconds of sound for a model that takes any length: its attention costs the square of it
_SHORTEST = 0.1  # seconds; the convolutions of a wave model need some sound
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Extractor:
    """Hidden states of a pretrained model as tokens, (N, D) float32."""

    model: str
    """efficientnet-lite0 (pictures), aisfx (sound), all-minilm-l6-v2 (text), if their package is installed; a folder
    that transformers saved, or a name on the Hugging Face hub; with safetensors"""
    output: Literal["frame", "clip", "token"] | None = None
    """a token for: frame = each picture, clip = each piece that the model reads at once, token = each patch, bit of
    sound or sub-word; None = the first of what the model can: frame, token of a picture model, clip, token of a video
    model, token, clip of a model of sound or text"""
    reads: Literal["vision", "video", "audio", "text"] | None = None
    """which of a pair of encoders such as CLIP or CLAP; None = the one that is not of text"""
    pool: Literal["mean", "cls"] = "mean"
    """how frame and clip are pooled: the mean of their tokens, or the model's CLS token"""
    layer: int = -1
    """-1 = the model's output; else a hidden state: 0 = the input of the first layer, -2 = that of the last"""
    rate: float | None = 4.0
    """frames per second for an image or video model, None = every frame"""
    seconds: float | None = None
    """length of the pieces that sound is cut into; None = the model's own length, or 30 if it takes any"""
    audio: Choice = "default"
    """which sound of a file: default (the container's), first, or a number, from 0"""
    channels: Channels = "mean"
    """what is made of several: their mean, the left or right one, or the loudest (max)"""
    batch: int = 8
    """pictures or pieces at once; changes the time and the memory it takes, not the features"""
    device: str = "auto"
    """cpu, cuda ...; auto = a GPU if there is one"""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """of the computation; auto = bfloat16 on a GPU, float32 on a CPU"""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}, expected at least 1")
        for name in ("rate", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}, expected a number above 0")

    def fingerprint(self) -> str:
        """The model's identity. Raises ValueError or FileNotFoundError for a model or options that cannot be used."""
        self._checkpoint.check_weights()
        return f"{self._output} {self._checkpoint.fingerprint()}"

    def request(self) -> Request:
        """Frames, sound or a file, whichever the model takes."""
        if self._checkpoint.kind == "text":
            return FileRequest(parts=True)
        if self._checkpoint.kind == "audio":
            return SoundRequest(self._checkpoint.feature_extractor.sampling_rate, self.audio, self.channels)
        return FramesRequest(rate=self.rate, size=self._checkpoint.pictures.size)  # squeezed by the decoder, if at all

    def features(self, decoded: Frames | np.ndarray | File) -> np.ndarray:
        """(N, D) float32."""
        if isinstance(decoded, Frames):
            video = self._checkpoint.kind == "video"
            x = self._of_films(decoded.pixels) if video else self._of_frames(decoded.pixels)
        elif isinstance(decoded, File):
            x = self._of_text(read_text(decoded.path, decoded.start, decoded.end))
        else:
            x = self._of_sound(decoded)
        return x.numpy()

    def patches(self) -> int:
        """Tokens of one moment: the patches of a picture, or the bands of a sound; 1 if that is not known."""
        config = self._checkpoint.config
        if self._output != "token":
            return 1
        if config.model_type == "audio-spectrogram-transformer":
            return (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        size = self._checkpoint.pictures.output_size if self._checkpoint.kind in ("vision", "video") else None
        return (size and _num_patches(config, torch.empty(1, 3, *size, device="meta"))) or 1

    @property
    def _checkpoint(self) -> Checkpoint:
        return checkpoint(self.model, self.reads)

    @property
    def _output(self) -> str:
        kind = self._checkpoint.kind
        possible = _OUTPUTS[kind]
        if self.output is not None and self.output not in possible:
            raise ValueError(
                f"output is {self.output}, and {self.model!r} reads {kind}; expected {' or '.join(possible)}"
            )
        return self.output or possible[0]

    def _states(self, inputs: Mapping[str, Tensor], count: int | None = None) -> States:
        device = device_of(self.device)
        auto = "float32" if device == "cpu" else "bfloat16"
        dtype = _DTYPES[auto if self.dtype == "auto" else self.dtype]
        return states(self._checkpoint.encoder(torch.device(device), dtype), inputs, self.layer, count)

    def _joined(self, states: States) -> Tensor:
        """Pools (B, N, D) by `output`: (B * N, D), or (B, D)."""
        if self._output == "token":
            return states.tokens.flatten(0, 1)
        if self.pool == "mean":
            return states.tokens.mean(1)
        if not states.front.shape[1]:
            raise ValueError(f"pool is cls, and {self.model!r} has no CLS token; use mean")
        return states.front[:, 0]

    def _of_frames(self, pixels: np.ndarray) -> Tensor:
        tokens = []
        for some in _batches(pixels, self.batch):
            x = self._checkpoint.pictures.prepare(some)
            tokens.append(self._joined(self._states({"pixel_values": x}, _num_patches(self._checkpoint.config, x))))
        return torch.cat(tokens)

    def _of_films(self, pixels: np.ndarray) -> Tensor:
        """In pieces of as many frames as the model takes; the last frame is repeated to fill the last one."""
        config, tokens = self._checkpoint.config, []
        length = config.frames_per_clip if hasattr(config, "frames_per_clip") else config.num_frames
        name = self._checkpoint.input_name
        indices = np.minimum(np.arange(math.ceil(len(pixels) / length) * length), len(pixels) - 1).reshape(-1, length)
        for some in _batches(indices, self.batch):
            x = self._checkpoint.pictures.prepare(pixels[some.reshape(-1)])
            tubelet = getattr(config, "tubelet_size", 1)
            depth = tubelet[0] if isinstance(tubelet, Sequence) else tubelet
            patches = _num_patches(config, x)
            count = None if patches is None else patches * (length // depth)
            tokens.append(self._joined(self._states({name: x.unflatten(0, (-1, length))}, count)))
        return torch.cat(tokens)

    def _of_sound(self, sound: np.ndarray) -> Tensor:
        """In pieces of `seconds`; of a shorter last one, the tokens that are sound, not padding."""
        rate = self._checkpoint.feature_extractor.sampling_rate
        fixed = self._fixed_seconds()
        seconds = self.seconds or fixed or _WINDOW
        if fixed and seconds > fixed:
            raise ValueError(f"seconds is {seconds:g}, and {self.model!r} takes {fixed:g} s at once")
        repeated = getattr(self._checkpoint.feature_extractor, "padding", "") == "repeatpad"  # as CLAP fills a piece
        length, least = round(seconds * rate), round(_SHORTEST * rate)
        pieces = [sound[begin : begin + length] for begin in range(0, len(sound), length)]
        tokens = []
        for some in _alike([len(piece) for piece in pieces], self.batch):
            share = len(pieces[some.start]) / (fixed * rate) if fixed and not repeated else 1.0
            padded = [np.pad(piece, (0, max(0, least - len(piece)))) for piece in pieces[some]]
            inputs = self._checkpoint.feature_extractor(padded, sampling_rate=rate, return_tensors="pt")
            tokens.append(self._joined(self._states_of_sound(inputs, share)))
        return torch.cat(tokens)

    def _fixed_seconds(self) -> float | None:
        """Length of the model's input; None = any length."""
        if self._checkpoint.config.model_type == "audio-spectrogram-transformer":
            return self._checkpoint.feature_extractor.max_length * 0.010
        for name in ("chunk_length", "max_length_s"):  # Whisper, CLAP
            if hasattr(self._checkpoint.feature_extractor, name):
                return float(getattr(self._checkpoint.feature_extractor, name))
        return None

    def _states_of_sound(self, inputs: Mapping[str, Tensor], share: float) -> States:
        """Tokens by time; the padding after the sound's `share` of the piece is left out."""
        config = self._checkpoint.config
        if config.model_type != "audio-spectrogram-transformer":
            states = self._states(inputs)
            return states._replace(tokens=states.tokens[:, : math.ceil(share * states.tokens.shape[1])])
        # AST counts its patches by frequency first.
        rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        columns = (config.max_length - config.patch_size) // config.time_stride + 1
        states = self._states(inputs, rows * columns)
        kept = states.tokens.unflatten(1, (rows, columns))[:, :, : math.ceil(share * columns)]
        return states._replace(tokens=kept.transpose(1, 2).flatten(1, 2))

    def _of_text(self, text: str) -> Tensor:
        """In pieces as long as the model takes; special tokens, such as CLS, are left out."""
        longest = min(
            self._checkpoint.tokenizer.model_max_length,
            getattr(self._checkpoint.config, "max_position_embeddings", 512),
        )
        cut = self._checkpoint.tokenizer(
            text, truncation=True, max_length=longest, return_overflowing_tokens=True, return_special_tokens_mask=True
        )
        tokens = []
        for some in _alike([len(piece) for piece in cut["input_ids"]], self.batch):
            # Special tokens stand at the same places in pieces of the same length.
            special = torch.tensor(cut["special_tokens_mask"][some.start], dtype=torch.bool)
            states = self._states({"input_ids": torch.tensor(cut["input_ids"][some])}).tokens
            tokens.append(self._joined(States(states[:, ~special], states[:, : int(special[0])])))
        return torch.cat(tokens)


def _batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def _alike(lengths: Sequence[int], size: int) -> Iterator[slice]:
    """Batches of equal length, so that no padding is needed: only the last piece may be shorter."""
    full = sum(length == lengths[0] for length in lengths)
    for begin in range(0, full, size):
        yield slice(begin, min(begin + size, full))
    if full < len(lengths):
        yield slice(full, len(lengths))


def _num_patches(config: Any, x: Tensor) -> int | None:
    """Patches of a prepared picture (T, 3, H, W); None for a model that joins them, as Swin does."""
    patch = getattr(config, "patch_size", getattr(config, "tubelet_size", None))
    if patch is None or isinstance(getattr(config, "depths", None), Sequence):
        return None
    down, across = (patch, patch) if isinstance(patch, int) else patch[-2:]
    return (x.shape[2] // down) * (x.shape[3] // across)
