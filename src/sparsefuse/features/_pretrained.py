"""A checkpoint, by folder, name of a packaged model or hub name: its encoder, its preprocessing and its hidden states.

Only safetensors are opened, and no code that comes with a checkpoint is run.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

from sparsefuse.extras import need
from sparsefuse.features._network import Network
from sparsefuse.features._packaged import PACKAGED, weights
from sparsefuse.features._pictures import Pictures, pictures

Kind = Literal["vision", "video", "audio", "text"]

_VIDEO = ("videomae", "vivit", "timesformer", "vjepa2")
# Of a pair of encoders: the part of the configuration, what it reads, where the model has it.
_PAIRS: tuple[tuple[str, Kind, str], ...] = (
    ("vision_config", "vision", "vision_model"),
    ("audio_config", "audio", "audio_model"),
    ("text_config", "text", "text_model"),
)
_INPUTS: dict[str, Kind] = {
    "pixel_values": "vision",
    "pixel_values_videos": "video",
    "input_values": "audio",
    "input_features": "audio",
    "input_ids": "text",
}
# Weights that a checkpoint may lack, since no feature depends on them.
_UNUSED = ("pooler", "mask_token", "masked_spec_embed", "predictor", "decoder", "logit_", "projection")


def checkpoint(model: str, reads: Kind | None = None) -> "Checkpoint":
    """The checkpoint of a folder, packaged model or hub name, the same object until the folder changes.

    `reads`: which of a pair of encoders (CLIP, CLAP); None = not the one of text. Raises FileNotFoundError, ImportError
    for what is not installed, or ValueError when it cannot be used.
    """
    if model in PACKAGED:
        return _packaged(model, reads)
    folder = Path(model)
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return _checkpoint(model, reads, tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


class Checkpoint:
    """A checkpoint; its weights are loaded when they are asked for, once."""

    def __init__(self, model: str, reads: Kind | None) -> None:
        self.model = model
        self.folder = Path(model) if Path(model).is_dir() else None
        if self.folder is None and (model.startswith((".", "/", "~")) or model.count("/") != 1):
            raise FileNotFoundError(
                f"model {model!r}: there is no such folder; models that come in a package are {', '.join(PACKAGED)}, "
                "and a name on the hub is one such as google-bert/bert-base-uncased"
            )
        full = _config(model)
        self._commit = getattr(full, "_commit_hash", None)
        self._loaded: dict[tuple[torch.device, torch.dtype], torch.nn.Module] = {}
        self._tower, self.config, kinds = None, full, []
        for part, kind, tower in _PAIRS:
            if hasattr(full, part) and hasattr(full, "text_config"):
                kinds.append(kind)
                if kind == reads or (reads is None and self._tower is None):
                    self._tower, self.config, self.kind = tower, getattr(full, part), kind
        if not kinds:
            self.kind: Kind = "video" if full.model_type in _VIDEO else _INPUTS[_input_name(full)]
            kinds = [self.kind]
        if reads not in (None, *kinds):
            raise ValueError(f"model {model!r} reads {' or '.join(kinds)}, not {reads}")

    @property
    def input_name(self) -> str:
        """The name of the model's input."""
        return _input_name(self.config)

    def fingerprint(self) -> str:
        """Changes when the model does: a folder's small files and the size and time of its weights, or a hub commit."""
        if self.folder is None:
            return f"{self.model}@{self._commit}"
        parts: list[object] = []
        for file in sorted(self.folder.iterdir()):
            if file.suffix in (".json", ".txt", ".model"):
                parts.append([file.name, hashlib.sha256(file.read_bytes()).hexdigest()])
            elif file.suffix == ".safetensors":
                parts.append([file.name, file.stat().st_size, file.stat().st_mtime_ns])
        return json.dumps(parts)

    def check_weights(self) -> None:
        """Raises ValueError when a folder has no weights that may be opened."""
        if self.folder is None or any(self.folder.glob("*.safetensors")):
            return
        pickles = sorted(file.name for file in self.folder.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        others = f"only {', '.join(pickles)}: pickles, which can run code when opened" if pickles else "no weights"
        raise ValueError(f"model {self.model!r} has no .safetensors, {others}; save it with save_pretrained")

    @cached_property
    def pictures(self) -> Pictures:
        """Preprocessing of pixels."""
        names = ["preprocessor_config.json", "processor_config.json#image_processor"]
        if self.kind == "video":
            names = ["video_preprocessor_config.json", *names, "processor_config.json#video_processor"]
        return pictures(self.model, self._settings(*names))

    def _settings(self, *names: str) -> dict[str, Any]:
        """The first of the JSON files `names` that exists; a name `file#key` is a part of one. Raises ValueError."""
        for name in names:
            file, _, key = name.partition("#")
            path = _file(self.model, self.folder, file)
            content = json.loads(path.read_text(encoding="utf-8")) if path else {}
            content = content.get(key, {}) if key else content
            if content:
                return content
        raise ValueError(f"model {self.model!r} has no {names[0]}, which says how its input is prepared")

    @cached_property
    def feature_extractor(self) -> Any:
        """The feature extractor of `transformers`, from a wave to the model's input."""
        self._settings("preprocessor_config.json", "processor_config.json#feature_extractor")
        return import_transformers().AutoFeatureExtractor.from_pretrained(self.model, trust_remote_code=False)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of `transformers`, from a text to the model's input."""
        tokenizer = import_transformers().AutoTokenizer.from_pretrained(self.model, trust_remote_code=False)
        if not tokenizer.is_fast:
            raise ValueError(
                f"model {self.model!r} has a slow (Python) tokenizer, which cannot split long texts into pieces"
            )
        return tokenizer

    def encoder(self, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
        """The encoder with its weights. Raises ValueError when weights are missing."""
        if (device, dtype) not in self._loaded:
            self._loaded[device, dtype] = self._load().to(device=device, dtype=dtype).eval().requires_grad_(False)
        return self._loaded[device, dtype]

    def _load(self) -> torch.nn.Module:
        transformers = import_transformers()
        self.check_weights()
        try:
            with _quiet(transformers.utils.logging):
                model, info = transformers.AutoModel.from_pretrained(
                    self.model, use_safetensors=True, trust_remote_code=False, output_loading_info=True
                )
        except (OSError, ValueError) as error:
            raise ValueError(f"model {self.model!r} cannot be loaded: {_short(error)}") from error
        prefix = f"{self._tower}." if self._tower else ""
        lost = [key for key in info["missing_keys"] if key.startswith(prefix) and not any(u in key for u in _UNUSED)]
        if lost:
            raise ValueError(f"model {self.model!r} lacks {len(lost)} weights, such as {sorted(lost)[0]}")
        if self._tower and not hasattr(model, self._tower):
            raise ValueError(f"model {self.model!r}, of type {self.config.model_type!r}, is not a pair of encoders")
        if self._tower:
            return getattr(model, self._tower)
        return model.get_encoder() if self.config.is_encoder_decoder else model


class States(NamedTuple):
    """Hidden states of a batch."""

    tokens: Tensor
    """(B, N, D) float32, in the model's order, without those in front"""
    front: Tensor
    """(B, P, D): CLS and its like, which the model puts before the tokens of the input"""


def states(model: torch.nn.Module, inputs: Mapping[str, Tensor], layer: int, count: int | None) -> States:
    """Hidden states of a layer: -1 = the model's output, else a number among the inputs of its layers and its output.

    `count`: how many tokens are of the input; None = all.
    """
    first = next(model.parameters())
    moved = {
        name: x.to(device=first.device, dtype=first.dtype if x.is_floating_point() else None)
        for name, x in inputs.items()
    }
    extra = {"skip_predictor": True} if "pixel_values_videos" in moved else {}
    with torch.inference_mode():
        out = model(**moved, **extra, output_hidden_states=layer != -1, return_dict=True)
    if layer != -1 and not -len(out.hidden_states) <= layer < len(out.hidden_states):
        raise ValueError(f"layer is {layer}, the model has {len(out.hidden_states)} (0 = the input of its first layer)")
    x = (out.last_hidden_state if layer == -1 else out.hidden_states[layer]).float().cpu()
    if x.ndim == 4:  # a map (B, D, H, W), as of ConvNeXt
        x = x.flatten(2).transpose(1, 2)
    front = 0 if count is None else x.shape[1] - count
    if front < 0:
        raise ValueError(f"the model gives {x.shape[1]} tokens, expected at least {count}")
    return States(x[:, front:], x[:, :front])


def import_transformers() -> Any:
    """The module `transformers`, or an ImportError that says how to install it."""
    return need("transformers", "encoders", "a pretrained encoder")


@lru_cache(maxsize=8)
def _packaged(model: str, reads: Kind | None) -> "Checkpoint":
    kind = PACKAGED[model].kind
    if reads not in (None, kind):
        raise ValueError(f"model {model!r} reads {kind}, not {reads}")
    if kind == "text":
        return Checkpoint(str(weights(model).parent), reads)
    return cast(Checkpoint, Network(model))  # it has what `encoder` asks of its kind


@lru_cache(maxsize=8)
def _checkpoint(model: str, reads: Kind | None, files: tuple[tuple[str, int, int], ...]) -> Checkpoint:
    return Checkpoint(model, reads)


@contextmanager
def _quiet(log: Any) -> Iterator[None]:
    """Hides the progress bar and the report of unused weights: those that matter are checked here."""
    level, shown = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if shown:
            log.enable_progress_bar()


def _config(model: str) -> Any:
    transformers = import_transformers()
    if Path(model).is_dir() and not (Path(model) / "config.json").is_file():
        raise FileNotFoundError(f"model {model!r} has no config.json; expected a folder that transformers saved")
    try:
        return transformers.AutoConfig.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error):
            raise ValueError(f"model {model!r} needs code of its own, which is not run; choose another") from error
        raise ValueError(f"model {model!r} cannot be loaded: {_short(error)}") from error


def _input_name(config: Any) -> str:
    try:
        name = import_transformers().AutoModel._model_mapping[type(config)].main_input_name
        return {name: name for name in _INPUTS}[name]
    except KeyError as error:
        raise ValueError(f"models of type {config.model_type!r} are not supported as encoders") from error


def _file(model: str, folder: Path | None, name: str) -> Path | None:
    if folder is not None:
        return folder / name if (folder / name).is_file() else None
    from transformers.utils.hub import cached_file

    path = cached_file(model, name, _raise_exceptions_for_missing_entries=False)
    return None if path is None else Path(path)


def _short(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
