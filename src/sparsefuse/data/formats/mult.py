"""MulT's pickles: CMU-MOSEI, CMU-MOSI and IEMOCAP as text, audio and vision, aligned by word or not.

Tsai et al., Multimodal transformer for unaligned multimodal language sequences, 2019. Layout: one pickle, such as
mosei_senti_data_noalign.pkl: train, valid and test -> text, audio, vision (clips, tokens, features) and labels, (clips,
1, 1) from -3 to 3, or for IEMOCAP (clips, 4, 2); id if it is there.
MultiBench's affect packs (mosi_raw.pkl, humor.pkl, sarcasm.pkl) have the same layout.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sparsefuse.data.formats import _packs
from sparsefuse.data.formats._packs import Part, read_parts, usable, write
from sparsefuse.data.formats._sentiment import targets
from sparsefuse.files.skipped import Unusable

FILES = _packs.FILES
EMOTIONS = ("neutral", "happy", "sad", "angry")
"""IEMOCAP's, in the order of MulT's evaluation."""


def prepare(source: Path, out: Path, *, need_text: bool = False) -> Path:
    """Strips the zeros that clips are padded with on the left, and converts every clip once to float32.

    Streams of equal length are aligned by word: they lose the same tokens, those that are zero in all. Else each loses
    its own. -inf in audio becomes 0. Sentiment: `label` has the seven classes, `sentiment` the number
    (data.label=sentiment). IEMOCAP: `label` has those of neutral, happy, sad and angry that are there, and each has a
    column of 0 or 1. A pack whose labels are two whole numbers has these as `label`.
    `need_text` leaves clips without text out, as MultiBench does.
    Checked: keys, shapes and counts; streams of zeros only, or with NaN, are named in skipped.jsonl.
    """
    parts = read_parts("mult", source, of_other={"regression_labels": "mmsa", "text_bert": "mmsa"})
    two = _two_classes(parts)
    return write(parts, out, lambda part, i: _stripped(part, i, need_text), lambda part: _cells(part, two))


def _stripped(part: Part, i: int, need_text: bool) -> Iterator[tuple[str, np.ndarray | Unusable]]:
    clip = {name: values[i] for name, values in part.streams.items()}
    real = {name: (values != 0).any(1) for name, values in clip.items()}
    together = np.any(list(real.values()), axis=0) if part.aligned else None
    wordless = need_text and "text" in real and not real["text"].any()
    for name, values in clip.items():
        there = real[name] if together is None else together
        yield name, Unusable("has no text beside it") if wordless else usable(name, values[np.argmax(there) :])


def _two_classes(parts: list[Part]) -> bool:
    """Humor and sarcasm are there or not."""
    labels = [np.asarray(part.rest.get("labels", ())) for part in parts]
    if any(values.dtype.kind not in "fiub" for values in labels):
        return False
    distinct = np.unique(np.concatenate([values.reshape(-1) for values in labels])).tolist()
    return len(distinct) <= 2 and all(float(value).is_integer() for value in distinct)


def _cells(part: Part, two: bool) -> list[dict[str, str]]:
    if "labels" in part.rest and np.shape(part.rest["labels"]) == (part.clips, 4, 2):
        there = part.column("labels", (4, 2)).argmax(2)
        return [
            {"label": "|".join(name for name, yes in zip(EMOTIONS, row, strict=True) if yes)}
            | {name: str(int(yes)) for name, yes in zip(EMOTIONS, row, strict=True)}
            for row in there
        ]
    values = part.column("labels").tolist()
    return [{"label": f"{value:g}"} for value in values] if two else [targets(value) for value in values]
