"""Prediction: a run folder and clips in, labels with probabilities out. The run folder is all that is needed."""

import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsefuse import metrics
from sparsefuse.data.arrays import read_array
from sparsefuse.data.grids import grid_of
from sparsefuse.data.labels import Labels
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.sample import Sample
from sparsefuse.data.stats import Stats
from sparsefuse.errors import unknown
from sparsefuse.features import PART, PLACE, Extractor, Patched, Timed, build, extractor, files_of, resolve, source_of
from sparsefuse.features._part import WHOLE, Part, part_of
from sparsefuse.files.allowed import allowed
from sparsefuse.files.references import FEATURES, FILES, MEDIA, TABLES, TEXTS, suffix
from sparsefuse.files.skipped import Unusable, one_file
from sparsefuse.inference.forward_graphs import ForwardGraphs, When, forward_graphs
from sparsefuse.media import Request
from sparsefuse.media.fetch import check_allowed
from sparsefuse.model import FusionModel
from sparsefuse.parallel.devices import device_of
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Calibration, ModelFacts
from sparsefuse.runs.weights import check_trusted, fit_of, load_model
from sparsefuse.shown import said, shown
from sparsefuse.tokens import Tokens
from sparsefuse.training import multiclip

Stream = np.ndarray | Tensor | str | Path | float
"""One modality of a clip: its features (N, F), the file that holds them, the media file they are made from, or a text
that they are made of; under `start` and `end` seconds, if the clip is a part of its media files."""
Clip = str | Path | Mapping[str, Stream]
"""One media file for all modalities; or a stream per modality, or per manifest column that features were made from."""

SHOWN = 5
"""classes of a prediction in a notebook"""
CHUNK = 256
"""clips that are read, and sorted by length, before the model sees them"""
ROOM = 16_384
"""tokens of a batch, with its padding; a longer clip is a batch alone"""


class Prediction(NamedTuple):
    """The prediction for one clip."""

    label: str
    """the likeliest class; several classes joined by | (those above 1/2); the likeliest of each head joined by +; the
    number, for regression"""
    probabilities: dict[str, float]
    """per class (`verb:take` if there are heads), calibrated if the run is; empty for regression"""
    missing: dict[str, str]
    """modalities the clip lacks, and why"""

    def to_json(self) -> dict[str, Any]:
        """As plain text and numbers, probabilities rounded."""
        return {**self._asdict(), "probabilities": {name: rounded(x) for name, x in self.probabilities.items()}}

    def _repr_html_(self) -> str:
        """For notebooks: the label, the likeliest classes with a bar each, and what is missing."""
        likeliest = sorted(self.probabilities.items(), key=lambda item: -item[1])[:SHOWN]
        rows = "".join(
            f"<tr><td>{escape(shown(name))}</td><td>{share:.3f}</td><td style='min-width: 8em'>"
            f"<div style='background: #4477aa; height: .8em; width: {100 * share:.1f}%'></div></td></tr>"
            for name, share in likeliest
        )
        notes = "".join(f"<br>without {escape(shown(name))}: {escape(why)}" for name, why in self.missing.items())
        return f"<b>{escape(shown(self.label or 'none'))}</b>{notes}<table>{rows}</table>"


def rounded(probability: float) -> float:
    """Without the digits that float32 has not."""
    return round(probability, 6)


def load(run: str | Path, *, device: str = "cpu", trust_code: bool = False, cuda_graphs: When = "never") -> "Predictor":
    """Loads the best model of a run folder. Raises FileNotFoundError if there is none.

    `device`, of the model and of extractors that are models: cpu, cuda, cuda:1 ...; auto = cuda if there is one, else
    cpu. ValueError for one that is not there.
    A run whose method or extractor is a .py file is refused unless `trust_code`: loading must not execute what came
    with it. `cuda_graphs`: whether forward passes are captured, which makes those of few tokens faster on a GPU; the
    model must then stay as it is: never, auto = on a GPU, unless the method is a .py file, always.
    """
    run, device = Path(run), device_of(device)
    facts = RunFolder(run).read(ModelFacts)
    check_trusted(RunFolder(run), facts, trust_code=trust_code)
    check_extractors(run, facts.extractors, allowed())
    _, model, stats = load_model(RunFolder(run), facts)
    fit = fit_of(facts)
    calibration = RunFolder(run).get(Calibration)
    model, own = model.to(device).eval(), facts.method.endswith(".py")
    graphs = forward_graphs(model, torch.device(device), cuda_graphs, own_method=own)
    return Predictor(model, facts.labels, stats, facts.extractors, fit, calibration, graphs)


def check_extractors(run: Path, extractors: Mapping[str, Mapping[str, Any]], roots: Sequence[str] | None) -> None:
    """Raises Unusable if an extractor's file lies neither in the run nor in one of these folders; None allows all."""
    for spec in extractors.values():
        for file in files_of(spec).values():
            if roots is not None and Path(file).exists():  # else a name on the hub
                check_allowed(file, [str(run), *roots])


class Predictor:
    """A trained model with its labels, normalisation and feature extraction."""

    def __init__(
        self,
        model: FusionModel,
        labels: Labels,
        stats: Stats | None,
        extract: Mapping[str, Mapping[str, Any]],
        fit: Lengths,
        calibration: Calibration | None = None,
        graphs: ForwardGraphs | None = None,
    ):
        self.model, self.labels, self.stats = model, labels, stats
        self.extract, self.fit = extract, fit
        self.calibration, self.graphs = calibration, graphs

    def predict(self, clips: Clip | Sequence[Clip]) -> "Prediction | list[Prediction]":
        """Returns one prediction for one clip, a list for a list; clips of similar length go together.

        Raises Unusable for a clip of which no modality can be read, or whose output is not finite, the first of a list
        (`results` gives those of the others); ValueError for unknown modalities.
        """
        if isinstance(clips, str) or not isinstance(clips, Sequence):
            return self.predict_one(clips)
        results = []
        for result in self.results(clips):
            if isinstance(result, Unusable):
                raise result
            results.append(result)
        return results

    def results(self, clips: Iterable[Clip]) -> "Iterator[Prediction | Unusable]":
        """For each clip its prediction, or why there is none, in their order. A clip that fails stops no other."""
        clips = iter(clips)
        while some := list(islice(clips, CHUNK)):
            yield from self._together(some)

    def _together(self, clips: Sequence[Clip]) -> "list[Prediction | Unusable]":
        """The results of a few clips: all are read, then sorted by length."""
        found: dict[int, Prediction | Unusable] = {}
        read: dict[int, tuple[dict[str, Tensor], dict[str, str]]] = {}
        for place, clip in enumerate(clips):
            try:
                read[place] = self._present(clip)
            except Unusable as error:
                found[place] = error
        tokens = {place: sum(map(len, features.values())) for place, (features, _) in read.items()}
        batch: list[int] = []
        for place in sorted(tokens, key=lambda place: tokens[place]):
            if batch and tokens[place] * (len(batch) + 1) > ROOM:
                found |= self._batch(batch, read)
                batch = []
            batch.append(place)
        found |= self._batch(batch, read) if batch else {}
        return [found[place] for place in range(len(clips))]

    @torch.inference_mode()
    def _batch(
        self, places: list[int], read: Mapping[int, tuple[dict[str, Tensor], dict[str, str]]]
    ) -> "dict[int, Prediction | Unusable]":
        """Place -> result of the clips that were read."""
        samples = [Sample(read[place][0], torch.tensor(0), "") for place in places]
        try:
            logits = self.logits(multiclip.streams(self.model, samples))
        except Unusable as error:
            if len(places) == 1:
                return {places[0]: error}
            return {place: self._batch([place], read)[place] for place in places}  # the others are not to blame
        return {place: self.prediction(row, read[place][1]) for place, row in zip(places, logits, strict=True)}

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def temperature(self) -> float:
        """The divisor of logits before softmax; 1 if the run was not calibrated."""
        return self.calibration.temperature if self.calibration else 1.0

    @property
    def columns(self) -> list[str]:
        """Keys of a clip: the modalities, and the manifest columns that their features are extracted from."""
        sources = (self.source(name) for name in self.model.modalities)
        return list(dict.fromkeys([*self.model.features, *filter(None, sources)]))

    @torch.inference_mode()
    def predict_one(self, clip: Clip) -> Prediction:
        """The prediction for one clip; see `predict`."""
        tokens, missing = self.tokens(clip)
        return self.prediction(self.logits(tokens)[0], missing)

    @torch.inference_mode()
    def logits(self, tokens: dict[str, Tokens]) -> Tensor:
        """(B, C) on the CPU, of what the model reads; see `tokens`. Raises Unusable if they are not finite."""
        return multiclip.logits(self.graphs or self.model, tokens, self.fit).cpu()

    def tokens(self, clip: Clip) -> tuple[dict[str, Tokens], dict[str, str]]:
        """What the model reads of one clip, as a batch of one, and why modalities are missing. Raises Unusable."""
        features, missing = self._present(clip)
        return multiclip.streams(self.model, [Sample(features, torch.tensor(0), "")]), missing

    def _present(self, clip: Clip) -> tuple[dict[str, Tensor], dict[str, str]]:
        """As `features`. Raises Unusable if there are none."""
        features, missing = self.features(clip)
        if not features:
            if isinstance(clip, str | Path) and len(set(missing.values())) == 1:
                raise Unusable(next(iter(missing.values())))  # of one file, once is enough
            names: dict[str, list[str]] = {}  # those that are made of one file lack the same
            for name, why in missing.items():
                names.setdefault(why, []).append(name)
            reasons = (f"{', '.join(lacking)}: {why}" for why, lacking in names.items())
            raise Unusable("; ".join(reasons) or "the clip has no modality")
        return features, missing

    def features(self, clip: Clip) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Normalised features (N, F) per modality of a clip, and why the others are missing."""
        if isinstance(clip, str | Path):
            clip = dict.fromkeys(self.of_file(clip), clip)
        if not isinstance(clip, Mapping):
            raise ValueError(
                f"a clip is {type(clip).__name__}; expected the path of a file, or its streams by name: "
                f"{{{self.columns[0]!r}: features (N, F)}}; a table goes to Classifier.load(run).predict"
            )
        for name in clip:
            if name not in self.columns and not (name in PART and self.extract):
                raise ValueError(unknown("modality", name, self.columns))
        features: dict[str, Tensor] = {}
        missing: dict[str, str] = {}
        for name in self.model.modalities:
            try:
                features[name] = self._normalised(name, self.read(name, clip))
            except Unusable as error:
                missing[name] = str(error)
        return features, missing

    def of_file(self, file: str | Path) -> tuple[str, ...]:
        """The modalities of a clip that is one file: of readings or words no film's features are made."""
        names = self.model.modalities
        kind, given = suffix(str(file)), isinstance(file, str) and not os.path.exists(file)
        if kind in TABLES | TEXTS or (given and kind not in FILES):
            names = tuple(filter(self._reads_tables, names)) or names
        return names

    def media(self, name: str, clip: Clip) -> Path | None:
        """The media file that a modality of a clip is made from; None if its features are given, or nothing is."""
        if isinstance(clip, str | Path):
            clip = {name: clip}
        column = name if name in clip else self.source(name)
        stream = clip.get(column)
        if not isinstance(stream, str | Path):
            return None
        kind = suffix(str(stream))
        table = kind not in FEATURES - TABLES and (column != name or self._reads_tables(name))
        return Path(stream) if table or kind in MEDIA else None

    def part(self, clip: Clip, name: str = "") -> Part:
        """The part of its media files that a clip is; for a modality that reads all of them, the whole. Raises
        Unusable."""
        spec = self.extract.get(name, {})
        words = bool(spec) and source_of(spec["extractor"]) == "text"
        if spec.get("whole") or (words and suffix(str(self.media(name, clip))) == ".txt"):  # a sentence has no times
            return WHOLE
        named = {name: clip[name] for name in PART if name in clip} if isinstance(clip, Mapping) else {}
        try:
            return part_of({name: cell for name, cell in named.items() if name not in self.columns}) or WHOLE
        except ValueError as error:
            raise Unusable(str(error)) from error

    def clip(self, cells: Mapping[str, str], root: Path) -> dict[str, Stream]:
        """The clip of a manifest's row, whose files are relative to `root`."""
        streams: dict[str, Stream] = {
            name: self.stream(name, cells[name], root) for name in self.columns if cells.get(name)
        }
        part = {name: cells[name] for name in PART if self.extract and cells.get(name)}
        return part | streams

    def source(self, name: str) -> str:
        """The manifest column that the modality's features were made from; empty if they were made elsewhere."""
        return self.extract.get(name, {}).get("source", "")

    @property
    def of_media(self) -> list[str]:
        """The modalities that are extracted from films and sound."""
        return [name for name in self.model.modalities if name in self.extract and not self._reads_tables(name)]

    @property
    def reads_tables(self) -> bool:
        """Whether a modality is extracted from what may be a table, such as sensor readings."""
        return any(map(self._reads_tables, self.model.modalities))

    def stream(self, column: str, cell: str, root: Path) -> Path | str:
        """What a manifest's cell stands for: a file in `root`, or words that a modality is made of."""
        return cell if self.reads_text(column) and suffix(cell) not in FILES else root / cell

    def reads_text(self, column: str) -> bool:
        """Whether a modality is made of the words of this column."""
        made = (spec for name, spec in self.extract.items() if column in (name, spec.get("source")))
        return any(source_of(spec["extractor"]) == "text" for spec in made)

    def times(self, name: str, path: Path) -> np.ndarray | None:
        """Seconds (N,) of a modality's tokens, if its extractor says them. Raises Unusable."""
        maker = self._maker(name)
        return maker.times(path) if isinstance(maker, Timed) else None

    def request(self, name: str) -> Request | None:
        """What a modality's extractor reads of a media file."""
        maker = self._maker(name)
        return maker.request() if maker else None

    def _maker(self, name: str) -> Extractor | None:
        spec = self.extract.get(name, {})
        options = {key: value for key, value in spec.items() if key not in PLACE}
        return build(spec["extractor"], options) if spec else None

    def grid(self, name: str) -> tuple[int, int] | None:
        """Rows and columns of the patches of a frame, if a modality has a token for each."""
        spec = self.extract.get(name, {})
        if not spec.get("patch"):
            return None
        options = resolve(spec["extractor"], {key: value for key, value in spec.items() if key not in PLACE})
        return grid_of({"extractor": spec["extractor"], **options})

    def patches(self, name: str) -> int:
        """Tokens of each frame, or of another moment, of a modality."""
        maker = self._maker(name) if self.extract.get(name, {}).get("extractor") == "encoder" else None
        return maker.patches() if isinstance(maker, Patched) else math.prod(self.grid(name) or (1,))

    def _reads_tables(self, name: str) -> bool:
        """Whether the modality is extracted from what may be a table, such as sensor readings, not from films."""
        return name in self.extract and source_of(self.extract[name]["extractor"]) not in ("video", "audio")

    def read(self, name: str, clip: Clip) -> Tensor:
        """A modality's features (N, F) as they are before cutting, resampling and normalising. Raises Unusable."""
        if isinstance(clip, str | Path):
            clip = {name: clip}
        words = self._words(name, clip)
        if words is not None:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "text.txt")
                file.write_text(words, encoding="utf-8")
                return torch.from_numpy(self._extracted(name, file, WHOLE))
        file = self.media(name, clip)
        if file is not None:
            with one_file(file):
                return torch.from_numpy(self._extracted(name, file, self.part(clip, name)))
        if name not in clip:
            source = self.source(name)
            raise Unusable(f"not given, and {source!r} is not a media file" if source in clip else "not given")
        stream = clip[name]
        if isinstance(stream, str | Path):
            with one_file(stream):
                return torch.from_numpy(read_array(str(stream), Path()))
        return _numbers(name, stream)

    def _words(self, name: str, clip: Mapping[str, Stream]) -> str | None:
        """The text itself, where that is given in place of its file."""
        stream = clip.get(name, clip.get(self.source(name)))
        text = name in self.extract and source_of(self.extract[name]["extractor"]) == "text"
        words = isinstance(stream, str) and text and suffix(stream) not in FILES and not os.path.exists(stream)
        return str(stream) if words else None

    def _extracted(self, name: str, path: Path, part: Part) -> np.ndarray:
        if name not in self.extract:
            raise Unusable(
                f"{path} is a media file, but {name!r} was trained on features computed elsewhere; give its features"
            )
        spec = {k: v for k, v in self.extract[name].items() if k not in PLACE}
        spec |= {"device": str(self.device)} if "device" in spec else {}  # the one it was made on may not be here
        make = self.extract[name]["extractor"]
        return extractor(make)(path, start=part.start, end=part.end, **spec)

    def _normalised(self, name: str, x: Tensor) -> Tensor:
        width = self.model.features[name]
        if x.ndim != 2 or x.shape[1] != width or not len(x):
            raise Unusable(f"{name} must be (N, {width}) with N >= 1; got {tuple(x.shape)}")
        if not x.isfinite().all():
            raise Unusable(f"{name} has NaN or infinite values")
        x = self.fit.fit(name, x)
        return self.stats.normalise(name, x) if self.stats else x

    def prediction(self, logits: Tensor, missing: dict[str, str]) -> Prediction:
        """The prediction of logits (C,)."""
        labels = self.labels
        shares = self.probabilities(logits[None])[0].tolist()
        label = labels.text(labels.likeliest(logits))
        return Prediction(label, dict(zip(labels.classes, shares[: len(labels.classes)], strict=True)), missing)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities (B, C) of logits (B, C); see `calibration`."""
        return metrics.probabilities(logits / self.temperature, self.labels.task, heads=self.labels.heads)


def _numbers(name: str, stream: np.ndarray | Tensor | float) -> Tensor:
    """Features that were given as an array or a tensor, as float32. Raises Unusable unless they are numbers."""
    if isinstance(stream, Tensor) and not stream.is_complex():
        stream = stream.detach().cpu().to_dense().float()  # numpy has no bfloat16
    try:
        values = np.asanyarray(stream)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Unusable(f"{name}: {type(stream).__name__} is not an array of numbers ({said(error)})") from error
    if values.dtype.kind not in "fiub" or np.ma.is_masked(values):
        what = "masked values" if np.ma.is_masked(values) else f"{values.dtype} values"
        raise Unusable(f"{name}: {type(stream).__name__} holds {what}, expected numbers (tokens, features)")
    with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite, which is refused
        return torch.from_numpy(np.asarray(values).astype(np.float32))
