"""What the files of a run folder hold (see `folder`), each a frozen dataclass that refuses what no run can have."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from sparsefuse.config import AnyTask
from sparsefuse.data.fingerprint import Fingerprint
from sparsefuse.data.labels import Labels
from sparsefuse.files.typed import from_json

MOST_TOKENS = 1_000_000
MOST_FEATURES = 1_000_000
MOST_CLASSES = 100_000
MOST_MODALITIES = 64
MOST_WINDOWS = 1000
MOST_MEMBERS = 100

Scores = Mapping[str, float]
"""By the names in `metrics.scores`."""


@dataclass(frozen=True)
class Environment:
    """Versions, machine, commit and command, for a rerun."""

    sparsefuse: str
    torch: str
    python: str
    platform: str
    device: str
    threads: int
    commit: str
    seed: int
    command: str | None = None
    """None in a run that was shared"""


@dataclass(frozen=True)
class Extract:
    """How features were extracted, as in features.json beside the manifest."""

    features: Mapping[str, Mapping[str, Any]]
    """modality -> its extractor, the manifest's column that it read (source), and its options"""
    versions: Mapping[str, str] | None = None
    patches: Mapping[str, int] | None = None
    """modality -> tokens of each frame, of those whose extractor says it"""

    def __post_init__(self) -> None:
        for name, spec in self.features.items():
            for key, value in (("extractor", spec.get("extractor")), ("source", spec.get("source", ""))):
                if not isinstance(value, str):
                    raise ValueError(f"features.{name[:60]}.{key} is {str(value)[:60]}; expected a text")


@dataclass(frozen=True)
class Origin:
    """The run that this one was adapted from."""

    name: str
    weights: str
    """SHA-256 of its model.safetensors"""
    clips: Fingerprint
    """of those that it was adapted to"""


@dataclass(frozen=True)
class MemberFacts:
    """What differs between the models of an ensemble; the fields of `ModelFacts`."""

    name: str
    method: str
    options: Mapping[str, object]
    features: Mapping[str, int]
    lengths: Mapping[str, int]
    typical: Mapping[str, int]
    normalised: bool
    max_length: int
    resample: Mapping[str, int]
    windows: int
    patches: Mapping[str, int] = field(default_factory=dict)
    temperature: float = 1.0
    """that calibrates its logits before the mean over members"""

    def __post_init__(self) -> None:
        # its own, times those of the ensembles that it came through
        if not _LEAST_PRODUCT <= self.temperature <= 1 / _LEAST_PRODUCT:
            raise ValueError(f"temperature is {self.temperature:g}; expected 1e-12 to 1e12")


_LEAST_PRODUCT = 1e-12
ENSEMBLE = "ensemble"
"""the method of a run that is several"""


@dataclass(frozen=True)
class ModelFacts:
    """All that prediction needs besides the weights. Raises ValueError for sizes that no model can have."""

    name: str
    method: str
    options: Mapping[str, object]
    """of the method's `build`"""
    features: Mapping[str, int]
    """modality -> width"""
    lengths: Mapping[str, int]
    """modality -> tokens of the longest training clip"""
    typical: Mapping[str, int]
    """modality -> median tokens of the training clips"""
    labels: Labels
    clips: Mapping[str, Fingerprint]
    """split -> fingerprint of its clips"""
    normalised: bool
    max_length: int
    resample: Mapping[str, int]
    windows: int
    extract: Extract | None
    """None for features that were computed elsewhere"""
    finetuned_from: Origin | None = None
    members: list[MemberFacts] | None = None
    """of an ensemble, whose own lengths are raw, for members cut and resample"""
    patches: Mapping[str, int] = field(default_factory=dict)
    """modality -> tokens of each frame, where these are several"""
    lesson: str | None = None
    """hash of the teachers that it learns from, and of their clips"""

    @property
    def models(self) -> "list[ModelFacts]":
        """The members of an ensemble, each as if alone; else itself."""
        if self.members is None:
            return [self]
        names = [one.name for one in fields(MemberFacts) if one.name != "temperature"]
        return [replace(self, members=None, **{n: getattr(member, n) for n in names}) for member in self.members]

    @property
    def code(self) -> list[str]:
        """What builds the models and makes the features: names, and .py files."""
        return [*(model.method for model in self.models), *(spec["extractor"] for spec in self.extractors.values())]

    @property
    def extractors(self) -> Mapping[str, Mapping[str, Any]]:
        """modality -> its extractor and options; empty for features that were computed elsewhere."""
        return self.extract.features if self.extract else {}

    def __post_init__(self) -> None:
        if not 1 <= len(self.features) <= MOST_MODALITIES:
            raise ValueError(f"features names {len(self.features)} modalities; expected 1 to {MOST_MODALITIES}")
        _check_counts("features", self.features, MOST_FEATURES)
        for name, lengths in (("lengths", self.lengths), ("typical", self.typical)):
            if lengths.keys() != self.features.keys():
                raise ValueError(
                    f"{name} is of {sorted(lengths)}, features of {sorted(self.features)}; expected the same"
                )
            _check_counts(name, lengths, MOST_TOKENS)
        _check_counts("resample", self.resample, MOST_TOKENS)
        _check_counts("patches", self.patches, MOST_TOKENS)
        for name, count in self.patches.items():
            if self.resample.get(name, count) % count:
                raise ValueError(
                    f"resample.{name[:60]} is {self.resample[name]}; expected a multiple of patches, {count}"
                )
        check_count("max_length", self.max_length, MOST_TOKENS, least=0)
        check_count("windows", self.windows, MOST_WINDOWS)
        _check_labels(self.labels)
        if (self.members is None) != (self.method != ENSEMBLE):
            raise ValueError(f"method is {self.method[:60]}; expected {ENSEMBLE} with members, and any other without")
        if self.members is not None:
            check_count("members", len(self.members), MOST_MEMBERS)
            _check_members(self.features, self.models)


def _check_members(features: Mapping[str, int], models: "list[ModelFacts]") -> None:
    """Raises ValueError unless the features are those of all members, which agree where they share one."""
    widths = {(name, width) for model in models for name, width in model.features.items()}
    if widths != set(features.items()):
        name, width = min(widths ^ set(features.items()))
        raise ValueError(f"features and those of the members differ: {name[:60]}, {width} wide, is not in all")


def _check_labels(labels: Labels) -> None:
    num, heads = len(labels.classes), labels.heads
    _check_counts("labels.heads", heads, MOST_CLASSES)
    if num > MOST_CLASSES:
        raise ValueError(f"labels.classes has {num:,} names; expected {MOST_CLASSES:,} at most")
    if (labels.task == "regression") != (not num):
        raise ValueError(f"labels has {num} classes, which task {labels.task} cannot have")
    if (labels.task == "heads") != bool(heads) or (heads and sum(heads.values()) != num):
        raise ValueError(f"labels has heads {heads} of {num} classes, task {labels.task}")
    if labels.ids and len(labels.ids) != num:
        raise ValueError(f"labels has {len(labels.ids)} ids of {num} classes")
    if len(set(labels.classes)) != num:
        raise ValueError("labels names a class twice")


def _check_temperature(temperature: float) -> None:
    if not 0.01 <= temperature <= 100:  # more than `calibrate` tries
        raise ValueError(f"temperature is {temperature:g}; expected 0.01 to 100")


def _check_counts(name: str, counts: Mapping[str, int], most: int) -> None:
    for key, value in counts.items():
        check_count(f"{name}.{key}", value, most)


def check_count(name: str, value: int, most: int, *, least: int = 1) -> None:
    """Raises ValueError for a number out of this range."""
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}; expected a whole number, {least} to {most:,}")


@dataclass(frozen=True)
class Epoch:
    """A line of metrics.jsonl; there, scores stand beside the rest."""

    epoch: int
    """counted from 1"""
    lr: float
    train_loss: float
    seconds: float
    """of training, up to its end"""
    scores: Scores
    """valid_loss, valid_top1, ..., and valid_exchanged_1, ... where layers exchange tokens (see `Result.exchanged`); of
    an adapted run also old_loss, ..., of the clips that the old run keeps"""

    def line(self) -> str:
        """As metrics.jsonl holds it."""
        plain = {"epoch": self.epoch, "lr": self.lr, "train_loss": self.train_loss, **self.scores}
        return json.dumps(plain | {"seconds": self.seconds}, allow_nan=False) + "\n"

    @classmethod
    def of_json(cls, value: object, place: str) -> "Epoch":
        """The inverse of `line`."""
        line = from_json(dict[str, float], value, place)
        own = {name: line.pop(name) for name in ("epoch", "lr", "train_loss", "seconds") if name in line}
        return from_json(cls, {**own, "scores": line}, place)


@dataclass(frozen=True)
class Calibration:
    """The fitted temperature, and the loss before and after on the clips it was fitted to."""

    temperature: float
    clips: int
    loss_before: float
    """mean loss of the validation clips as trained, labels smoothed"""
    loss: float
    """and with the temperature: never higher"""

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)


@dataclass(frozen=True)
class Cost:
    """What one clip of typical length costs. Measured values are None until they were measured (see
    `cost.measure.Measured`), and times that cannot be trusted stay None."""

    gmacs: float
    """multiply-adds / 1e9, from features to logits"""
    layers_gmacs: float
    """of the layers alone, without the embedding of features and the head; multiply-adds / 1e9"""
    paper_gmacs: float
    """of the layers as SFT's appendix A.2 counts them, to compare with its tables; multiply-adds / 1e9"""
    parameters: int
    """weights and biases, a number"""
    lengths: Mapping[str, int]
    """modality -> tokens of the clip"""
    memory_mb: float | None = None
    """peak activation memory of a training step per clip, in 1e6 bytes"""
    latency_ms: float | None = None
    """median time of a forward pass of one clip, in ms"""
    latency_spread_ms: float | None = None
    """half the distance between the 10th and 90th percentile of these times, in ms"""
    batch_ms: float | None = None
    """median time of a forward pass per clip, in batches of `batch`, in ms"""
    train_ms: float | None = None
    """median time of a training step, forward and backward, per clip, in batches of `batch`, in ms"""
    floor_ms: float | None = None
    """what no implementation can go below on this machine for one clip: by its arithmetic or its memory, in ms"""
    batch_floor_ms: float | None = None
    """the same per clip, in batches of `batch`, in ms"""
    batch: int | None = None
    """clips in a batch"""
    fastest_ms: float | None = None
    """the fastest forward pass of one clip, in ms"""
    load: float | None = None
    """cores that other programs kept busy meanwhile; None where the system does not say"""
    doubt: str = ""
    """why times cannot be trusted"""
    where: str = ""
    """what all this was measured on, which need not be what it was trained on; empty in older runs"""
    features_gmacs: Mapping[str, float] = field(default_factory=dict)
    """modality -> what the packaged encoder that made its features costs a clip, in no other figure here"""


@dataclass(frozen=True)
class Change:
    """Scores of the old model and of the adapted one; None if there were no clips."""

    before: Scores | None = None
    after: Scores | None = None


@dataclass(frozen=True)
class Finetune:
    """How a run was adapted, and its scores before and after."""

    settings: Mapping[str, object]
    held_out: Change
    """new clips, each when it was held out"""
    old: Change
    """old clips that the run keeps"""
    test: Change
    effort: Mapping[str, float]
    """of one step (see `finetune.effort`); empty if it was not measured"""
    from_: str | None = None
    """name of the folder of the old run; None in a run that was shared"""


@dataclass(frozen=True)
class Candidate:
    """One of those that a run was chosen among."""

    name: str
    gmacs: float | None = None
    epochs: int = 0
    score: float | None = None
    """of the validation split; None if it was not trained"""
    interval: tuple[float, float] | None = None
    """95 %, over validation clips; None where the score is no share of them, as mAP and MAE"""
    left_out: str = ""
    """why it was not trained, or failed"""


@dataclass(frozen=True)
class Choice:
    """How a run was chosen (`--method auto`)."""

    metric: str
    """of the validation split"""
    clips: int
    """in it"""
    seconds: float
    """that the search took"""
    limit: float | None
    """seconds that it might take"""
    candidates: list[Candidate]
    """best first: the first is the run's own"""
    members: list[str] = field(default_factory=list)
    """names of the candidates that the run is an ensemble of, if it is one"""


@dataclass(frozen=True)
class Teacher:
    """A run that taught this one; scores are those of the same clips, if it had them."""

    name: str
    gmacs: float | None
    valid: Scores
    test: Scores


@dataclass(frozen=True)
class Result:
    """Scores and cost of the best checkpoint."""

    method: str
    name: str
    seed: int
    fold: int | None
    """which of the configuration's folds is its test split"""
    task: AnyTask
    classes: list[str]
    data: str
    """the manifest"""
    epochs: int
    best_epoch: int
    """the first with the best score of `train.best`"""
    seconds: float
    """of training"""
    valid: Scores
    """empty without validation clips"""
    test: Scores
    """empty if the test split was not scored"""
    splits: Mapping[str, int]
    """split -> clips"""
    clips: Mapping[str, Fingerprint]
    skipped: int
    cost: Cost
    finetune: Finetune | None = None
    teachers: list[Teacher] | None = None
    warnings: list[str] = field(default_factory=list)
    """what makes the choice of the checkpoint doubtful"""
    heads: dict[str, int] | None = None
    """head -> number of its classes"""
    per_class_ap: list[float | None] | None = None
    """of the test split; None for a class without a clip there"""
    confusion: list[list[int]] | None = None
    """a row per true class, a column per predicted class"""
    confusions: dict[str, list[list[int]]] | None = None
    """the same of every head"""
    exchanged: Mapping[str, float] | None = None
    """layer, from 1, or stream@stage.block -> share of the tokens of validation (else test) clips that it replaced by
    another modality's"""
    channels: Mapping[str, float] | None = None
    """stream@stage.block -> share of the channels that are the stream's to give up that were replaced"""

    def scores(self, split: str) -> Scores:
        """Those of test or valid."""
        return self.test if split == "test" else self.valid

    def __post_init__(self) -> None:
        size, heads = len(self.classes), self.heads or {}
        if self.per_class_ap is not None and len(self.per_class_ap) != size:
            raise ValueError(f"per_class_ap has {len(self.per_class_ap)} values; expected {size}, one a class")
        counts = {"confusion": (self.confusion, size)}
        for head, found in (self.confusions or {}).items():
            counts[f"confusions.{head}"] = (found, heads.get(head, 0))
        for name, (found, side) in counts.items():
            if found is not None and (len(found) != side or any(len(row) != side for row in found)):
                raise ValueError(f"{name} is not {side} x {side}, a row and a column for each class")
