"""A film, its sound, or a text comes in; what a pretrained model of `transformers` makes of it comes out as tokens."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sparsefuse.features._pretrained import Checkpoint, Kind, States, checkpoint, states
from sparsefuse.features._transcript import read_text
from sparsefuse.media import File, FileRequest, Frames, FramesRequest, Request, SoundRequest

SOURCE = "video"
PACKAGES = ("transformers", "tokenizers")

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
    """a folder that transformers saved, or a name on the Hugging Face hub; with safetensors"""
    output: Literal["frame", "clip", "token"] | None = None
    """a token for: frame = each picture, clip = each piece that the model reads at once, token = each patch, bit of
    sound or sub-word; None = the first of what the model can: frame, token of a picture model, clip, token of a video
    model, token, clip of a model of sound or text"""
    reads: Literal["vision", "video", "audio", "text"] | None = None
    """which of a pair of encoders such as CLIP or CLAP; None = not the one of text"""
    pool: Literal["mean", "cls"] = "mean"
    """what frame and clip are made of: the mean of their tokens, or the model's CLS token"""
    layer: int = -1
    """-1 = the model's output; else of its hidden states, 0 = what the first layer gets, -2 = what the last one gets"""
    rate: float | None = 4.0
    """frames per second that a picture or video model sees, None = every frame"""
    seconds: float | None = None
    """length of the pieces that sound is cut into; None = what the model was made for, 30 where it takes any"""
    batch: int = 8
    """pictures or pieces at once; changes the time and the memory it takes, not the features"""
    device: str = "auto"
    """cpu, cuda ...; auto = a GPU if there is one"""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """what is computed with; auto = bfloat16 on a GPU, float32 on a CPU"""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}, expected at least 1")
        for name in ("rate", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}, expected a number above 0")

    def fingerprint(self) -> str:
        """The model's identity. Raises ValueError or FileNotFoundError for a model or options that do not go."""
        self._checkpoint.check_weights()
        return f"{self._output} {self._checkpoint.fingerprint()}"

    def request(self) -> Request:
        """Frames, sound or a file, as the model reads."""
        if self._checkpoint.kind == "text":
            return FileRequest(parts=True)
        if self._checkpoint.kind == "audio":
            return SoundRequest(self._checkpoint.listener.sampling_rate)
        return FramesRequest(rate=self.rate, size=self._checkpoint.pictures.size)  # squeezed by the decoder, if at all

    def features(self, found: Frames | np.ndarray | File) -> np.ndarray:
        """(N, D) float32."""
        if isinstance(found, Frames):
            made = self._of_films(found.pixels) if self._checkpoint.kind == "video" else self._of_frames(found.pixels)
        elif isinstance(found, File):
            made = self._of_text(read_text(found.path, found.start, found.end))
        else:
            made = self._of_sound(found)
        return made.numpy()

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
        device = self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        auto = "float32" if device == "cpu" else "bfloat16"
        dtype = _DTYPES[auto if self.dtype == "auto" else self.dtype]
        return states(self._checkpoint.encoder(torch.device(device), dtype), inputs, self.layer, count)

    def _joined(self, found: States) -> Tensor:
        """(B, N, D) to what `output` says: (B * N, D), or (B, D)."""
        if self._output == "token":
            return found.tokens.flatten(0, 1)
        if self.pool == "mean":
            return found.tokens.mean(1)
        if not found.front.shape[1]:
            raise ValueError(f"pool is cls, and {self.model!r} has no CLS token; use mean")
        return found.front[:, 0]

    def _of_frames(self, pixels: np.ndarray) -> Tensor:
        made = []
        for some in _batches(pixels, self.batch):
            x = self._checkpoint.pictures.prepare(some)
            made.append(self._joined(self._states({"pixel_values": x}, _num_patches(self._checkpoint.config, x))))
        return torch.cat(made)

    def _of_films(self, pixels: np.ndarray) -> Tensor:
        """Pieces of as many frames as the model reads; the last frame is repeated to fill the last one."""
        config, made = self._checkpoint.config, []
        length = config.frames_per_clip if hasattr(config, "frames_per_clip") else config.num_frames
        name = self._checkpoint.input_name
        whole = np.minimum(np.arange(math.ceil(len(pixels) / length) * length), len(pixels) - 1).reshape(-1, length)
        for some in _batches(whole, self.batch):
            x = self._checkpoint.pictures.prepare(pixels[some.reshape(-1)])
            tubelet = getattr(config, "tubelet_size", 1)
            depth = tubelet[0] if isinstance(tubelet, Sequence) else tubelet
            patches = _num_patches(config, x)
            count = None if patches is None else patches * (length // depth)
            made.append(self._joined(self._states({name: x.unflatten(0, (-1, length))}, count)))
        return torch.cat(made)

    def _of_sound(self, sound: np.ndarray) -> Tensor:
        """Pieces of `seconds`; of a last one that is shorter, the tokens that sound covers."""
        rate = self._checkpoint.listener.sampling_rate
        fixed = self._fixed_seconds()
        seconds = self.seconds or fixed or _WINDOW
        if fixed and seconds > fixed:
            raise ValueError(f"seconds is {seconds:g}, and {self.model!r} hears {fixed:g} s at once")
        repeated = getattr(self._checkpoint.listener, "padding", "") == "repeatpad"  # as CLAP fills a piece
        length, least = round(seconds * rate), round(_SHORTEST * rate)
        pieces = [sound[begin : begin + length] for begin in range(0, len(sound), length)]
        made = []
        for some in _alike([len(piece) for piece in pieces], self.batch):
            share = len(pieces[some.start]) / (fixed * rate) if fixed and not repeated else 1.0
            padded = [np.pad(piece, (0, max(0, least - len(piece)))) for piece in pieces[some]]
            inputs = self._checkpoint.listener(padded, sampling_rate=rate, return_tensors="pt")
            made.append(self._joined(self._heard(inputs, share)))
        return torch.cat(made)

    def _fixed_seconds(self) -> float | None:
        """How much sound the model reads at once; None = any length."""
        if self._checkpoint.config.model_type == "audio-spectrogram-transformer":
            return self._checkpoint.listener.max_length * 0.010
        for name in ("chunk_length", "max_length_s"):  # Whisper, CLAP
            if hasattr(self._checkpoint.listener, name):
                return float(getattr(self._checkpoint.listener, name))
        return None

    def _heard(self, inputs: Mapping[str, Tensor], share: float) -> States:
        """Tokens by time; what lies behind the sound's `share` of the piece is left out."""
        config = self._checkpoint.config
        if config.model_type != "audio-spectrogram-transformer":
            found = self._states(inputs)
            return found._replace(tokens=found.tokens[:, : math.ceil(share * found.tokens.shape[1])])
        # AST counts its patches by frequency first.
        rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        columns = (config.max_length - config.patch_size) // config.time_stride + 1
        found = self._states(inputs, rows * columns)
        kept = found.tokens.unflatten(1, (rows, columns))[:, :, : math.ceil(share * columns)]
        return found._replace(tokens=kept.transpose(1, 2).flatten(1, 2))

    def _of_text(self, text: str) -> Tensor:
        """Pieces as long as the model reads; tokens that stand for no text, such as CLS, are left out."""
        longest = min(
            self._checkpoint.tokenizer.model_max_length,
            getattr(self._checkpoint.config, "max_position_embeddings", 512),
        )
        cut = self._checkpoint.tokenizer(
            text, truncation=True, max_length=longest, return_overflowing_tokens=True, return_special_tokens_mask=True
        )
        made = []
        for some in _alike([len(piece) for piece in cut["input_ids"]], self.batch):
            # Special tokens stand at the same places in pieces of the same length.
            special = torch.tensor(cut["special_tokens_mask"][some.start], dtype=torch.bool)
            found = self._states({"input_ids": torch.tensor(cut["input_ids"][some])}).tokens
            made.append(self._joined(States(found[:, ~special], found[:, : int(special[0])])))
        return torch.cat(made)


def _batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def _alike(lengths: Sequence[int], size: int) -> Iterator[slice]:
    """Batches of equal length, so that nothing is padded: of pieces only the last may be shorter."""
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
