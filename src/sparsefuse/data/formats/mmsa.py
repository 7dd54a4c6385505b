"""MMSA's pickles: CMU-MOSI, CMU-MOSEI and CH-SIMS as text, audio and vision, padded on the right, with lengths.

Mao et al., M-SENA: an integrated platform for multimodal sentiment analysis, 2022. Layout: one pickle, such as
unaligned_50.pkl: train, valid and test -> text, audio, vision (clips, tokens, features), regression_labels (clips,);
as far as they are there text_bert (clips, 3, tokens), audio_lengths, vision_lengths, id, annotations and
regression_labels_T, _A, _V.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sparsefuse.data.formats import _packs
from sparsefuse.data.formats._packs import Part, read_parts, usable, write
from sparsefuse.data.formats._sentiment import targets
from sparsefuse.files.skipped import Unusable

log = logging.getLogger(__name__)

FILES = _packs.FILES
NUMBERS = {
    "regression_labels_T": "sentiment_text",
    "regression_labels_A": "sentiment_audio",
    "regression_labels_V": "sentiment_vision",
}


def prepare(source: Path, out: Path) -> Path:
    """Cuts the padding on the right, by the lengths that the file gives, and converts every clip once to float32.

    Text is as long as the attention mask in text_bert. Streams of equal length are aligned by word: all are as long as
    the text. Without a length, the zeros at the end are cut. -inf in audio becomes 0. `label` is the annotation
    (Negative, Neutral, Positive) if there is one, else the number; `sentiment` the number (data.label=sentiment),
    `class7` its whole number from -3 to 3 if numbers go beyond 1; SIMS adds sentiment_text, _audio and _vision.
    Checked: keys, shapes and counts; a stream of zeros only, with NaN or of an impossible length is in skipped.jsonl.
    """
    parts = read_parts("mmsa", source, of_other={"labels": "mult"})
    lengths = {part.name: _lengths(part) for part in parts}
    seven = any(np.abs(part.column("regression_labels")).max() > 1 for part in parts)
    return write(parts, out, lambda part, i: _cut(part, i, lengths[part.name]), lambda part: _cells(part, seven))


def _lengths(part: Part) -> dict[str, np.ndarray]:
    """modality -> tokens of every clip, for those that the file states."""
    text: dict[str, np.ndarray] = {}
    if "text" in part.streams and "text_bert" in part.rest:
        bert = np.asarray(part.rest["text_bert"])
        if bert.shape != (part.clips, 3, part.streams["text"].shape[1]):
            expected = (part.clips, 3, part.streams["text"].shape[1])
            raise ValueError(f"{part.where}: text_bert has shape {bert.shape}, expected {expected}")
        text = {"text": bert[:, 1].sum(1).astype(int)}
    if part.aligned:
        return dict.fromkeys(part.streams, text["text"]) if "text" in text else {}
    stated = {
        name: part.column(f"{name}_lengths") for name in part.streams if part.rest.get(f"{name}_lengths") is not None
    }
    return text | {name: values.astype(int) for name, values in stated.items()}


def _cut(part: Part, i: int, lengths: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray | Unusable]]:
    clip = {name: values[i] for name, values in part.streams.items()}
    real = {name: (values != 0).any(1) for name, values in clip.items()}
    together = np.any(list(real.values()), axis=0) if part.aligned else None
    for name, values in clip.items():
        there = real[name] if together is None else together
        length = int(lengths[name][i]) if name in lengths else len(there) - int(np.argmax(there[::-1]))
        if 0 < length <= len(values):
            yield name, usable(name, values[:length])
        else:
            yield name, Unusable(f"has length {length}, but {len(values)} tokens are stored")


def _cells(part: Part, seven: bool) -> list[dict[str, str]]:
    values = part.column("regression_labels").tolist()
    names = part.rest.get("annotations")
    if names is not None and len(names) != part.clips:
        raise ValueError(f"{part.where}: {len(names)} annotations for {part.clips} clips")
    more = {NUMBERS[key]: part.column(key) for key in NUMBERS if key in part.rest}
    rows = []
    for i, value in enumerate(values):
        cells = targets(value)
        row = {
            "label": str(names[i]).strip() if names is not None else cells["sentiment"],
            "sentiment": cells["sentiment"],
        }
        row |= {"class7": cells["label"]} if seven else {}
        rows.append(row | {column: f"{numbers[i]:.6g}" for column, numbers in more.items()})
    return rows
