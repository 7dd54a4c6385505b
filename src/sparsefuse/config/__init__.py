"""The configuration: one YAML per data set, typed; `cli` turns the same fields into flags."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from sparsefuse.config.pixels import Pixels, PixelTask
from sparsefuse.config.points import Points, PointTask
from sparsefuse.config.recipe import SETTINGS, Recipe

Task = Literal["class", "multilabel", "heads", "regression"]
"""what is predicted of a clip"""
AnyTask = Literal[Task, PixelTask, PointTask]
"""the same, or of a scene"""
Usual = Literal["raw", "auto", "raw,auto"]
"""what is extracted where nobody says which features: pixels, spectrograms and words; what pretrained encoders that are
installed make of them; or both, under two names"""


@dataclass(frozen=True)
class Split:
    """How clips are divided into train, valid and test."""

    by: Literal["auto", "given", "stratified", "group"] = "auto"
    """given: the manifest's `split` column; stratified: every class in proportion, with at least one clip of it in each
    split if it has three; group: no group in two splits, and every class in each split if groups allow it; auto: given
    if there is a `split` column, else group if there is the column data.group, else stratified"""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """shares of train, valid and test"""
    test_groups: list[str] = field(default_factory=list)
    """groups that are the test split, by name (group splits only); the rest is divided by the other fractions"""
    folds: list[list[str]] = field(default_factory=list)
    """lists of groups; `compare` makes each list the test split in turn and averages over them, unless test_groups
    choose one"""
    k: int = 0
    """k-fold cross-validation: k parts with every class in proportion, of whole groups if there is the column
    data.group and `by` is not stratified; `compare` makes each the test split in turn. 0 = off; a `split` column is
    then ignored"""
    fold: int | None = None
    """which of the k parts is the test split, from 0, for verbs that need one; `fractions` divide the rest"""
    train_share: float = 1.0
    """share of the training clips that is used, of every class in proportion; the others are left out"""
    valid_by: Literal["auto", "group", "stratified"] = "auto"
    """with a group split, validation clips are group: of two whole groups or more; stratified: of the training groups;
    auto: group if two groups remain to train, else stratified"""
    refit: Literal["none", "valid", "all"] = "none"
    """clips that train too, once everything is chosen: valid = those of validation, all = those of the test as well;
    none validate then"""
    seed: int = 0
    """seed of the division; independent of the training seed"""

    def each_fold(self) -> "list[Split]":
        """One for every test split that is to be scored; itself without folds, or if one is chosen."""
        if self.refit == "all":
            return [replace(self, folds=[], test_groups=[], k=0, fold=None)]
        if self.k and self.fold is None:
            return [replace(self, fold=fold) for fold in range(self.k)]
        if self.test_groups or not self.folds:
            return [self]
        return [replace(self, by="group", test_groups=groups) for groups in self.folds]

    @property
    def number(self) -> int | None:
        """Which of the folds is the test split, from 0; None without folds."""
        if self.k:
            return self.fold
        return self.folds.index(self.test_groups) if self.test_groups in self.folds else None


@dataclass(frozen=True)
class SpecAugment:
    """Bands of a spectrogram set to 0, its mean if data.normalise (Park et al. 2019; the warp is data.time_warp), and
    its loudness changed."""

    freq: int = 48
    """most bins of a band"""
    freq_masks: int = 1
    """bands of bins"""
    time: int = 48
    """most tokens of a band"""
    time_masks: int = 4
    """bands of tokens"""
    gain: float = 0.0
    """most that is added to or taken off all bins, in standard deviations if data.normalise"""


@dataclass(frozen=True)
class Picture:
    """How frames of raw pixels are changed, all frames of a training sample alike. A frame is height x width x channels
    features, flattened in that order."""

    height: int
    """rows of a frame"""
    width: int
    """columns of a frame"""
    channels: int = 1
    """colours"""
    crop: float = 0.0
    """largest share of its height and width that a frame loses; what is left is enlarged to the whole"""
    flip: float = 0.0
    """probability of swapping left and right"""
    brightness: float = 0.0
    """most that is added to or taken off all pixels, in standard deviations if data.normalise"""
    contrast: float = 0.0
    """largest share by which distances from the sample's mean grow or shrink"""


@dataclass(frozen=True)
class Axes:
    """Features that are axes of points, of sensors or of a skeleton's joints, point after point: x1 y1 z1 x2 y2 z2.
    They turn about 0, so joints must be relative to the body."""

    size: int = 3
    """axes of a point; 2 in a picture"""
    about: Literal["any", "x", "y", "z"] = "any"
    """three axes: the one that data.rotate turns about, such as the vertical; any = drawn for each sample"""
    across: Literal["x", "y", "z"] = "x"
    """the axis from left to right, which data.mirror reverses"""
    axial: list[int] = field(default_factory=list)
    """points, from 0, that are angular velocities, as a gyroscope has: in a mirror they turn the other way round"""
    swap: list[tuple[int, int]] = field(default_factory=list)
    """pairs of points that change places in a mirror, as left and right hand: [[4, 8], [5, 9]]"""
    frame: str = ""
    """a name that streams share which turn together, as the two halves of a sensor do; empty = this one turns alone"""


@dataclass(frozen=True)
class Data:
    """Which clips, and how they reach the model."""

    manifest: str = ""
    """CSV or JSONL: id, one column per modality, label, optional split and group; relative to the YAML's folder"""
    modalities: list[str] = field(default_factory=list)
    """columns to use as modalities; empty = all of them"""
    label: str = "label"
    """the column that holds the label, or several joined by +, whose labels are all to be predicted: verb+noun. If
    there is no column `label`, the only one that may hold labels is taken"""
    task: Literal["auto", "class", "multilabel", "heads", "regression", "segment", "translate", "detect"] = "auto"
    """one class; several classes separated by |; one class in each of several columns; a number; a class per pixel; a
    picture from pictures; boxes in space. auto: read from the labels (a number is a class if whole)"""
    group: str = "group"
    """the column of what must stay within one split when splits are drawn: a person, a film that clips were cut from;
    a manifest without a column `group` has none"""
    separator: str = "|"
    """what separates several classes in a label, such as a comma; the signs of a list ['a', 'b'] are removed"""
    classes: dict[str, str] = field(default_factory=dict)
    """label column -> CSV with the columns id and key that lists its classes, relative as the manifest is: {verb:
    verbs.csv}. Without it they are those of the training clips"""
    split: Split = field(default_factory=Split)
    leaks: Literal["stop", "warn"] = "stop"
    """if clips of two splits have the same file or contents: stop before training, or only warn"""
    normalise: bool = True
    """zero mean and unit variance per feature, measured on the training split"""
    modality_dropout: float = 0.0
    """probability with which a modality is hidden from a training sample (at least one always stays)"""
    token_dropout: float = 0.0
    """probability with which each twelfth of a stream is hidden from a training sample (at least one always stays)"""
    noise: float = 0.0
    """standard deviation of the Gaussian noise added to training features, after normalisation"""
    crop: float = 0.0
    """largest share of a training sample that is cut off its two ends, the same part of all its modalities"""
    time_warp: float = 0.0
    """largest share by which a training sample's tempo changes, up and down along it, in all its modalities alike"""
    axes: dict[str, Axes] = field(default_factory=dict)
    """modality -> points that its features are the axes of, for rotate and mirror: {inertial: {axial: [1]}}"""
    rotate: float = 0.0
    """largest angle, in degrees, by which the points of `axes` are turned in a training sample"""
    mirror: float = 0.0
    """probability of swapping left and right of the points of `axes`, of all modalities at once"""
    scale: float = 0.0
    """largest share by which distances from 0 grow or shrink in a training sample, in each modality by another factor;
    0 is the mean if data.normalise"""
    spec_augment: dict[str, SpecAugment] = field(default_factory=dict)
    """modality -> bands to hide from training samples: {spectrogram: {freq: 48, freq_masks: 1, time: 48}}"""
    pictures: dict[str, Picture] = field(default_factory=dict)
    """modality -> shape of its frames and how training changes them: {video: {height: 32, width: 32, crop: 0.1}}"""
    max_length: int = 0
    """longer streams are cut to this many tokens; 0 = keep them whole"""
    windows: int = 1
    """evenly spaced windows of max_length tokens whose logits are averaged in validation, test and prediction. Training
    sees the beginning; reports give the cost of one"""
    resample: dict[str, int] = field(default_factory=dict)
    """modality -> tokens: its streams are interpolated to this many, so that a position is a share of the clip"""
    strict: bool = False
    """stop at the first unusable sample instead of skipping it"""
    cache_mb: int = 4096
    """memory in which decoded samples may be kept between epochs; for training ones, only without train.workers"""


@dataclass(frozen=True)
class Train:
    """How the model is trained. The defaults are the SFT paper's (section 4.4 and its released code)."""

    pretrained: str = ""
    """a ViT to start from: a folder that `transformers` saved, or a name on the Hugging Face hub; for methods that cut
    frames into patches and have ViT blocks"""
    epochs: int = 20
    """passes over the training split"""
    batch_size: int = 24
    """samples per step, over all processes together"""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or stochastic gradient descent with momentum"""
    momentum: float = 0.9
    """SGD's momentum"""
    lr: float = 1e-3
    """learning rate, before warm-up and schedule"""
    schedule: Literal["plateau", "cosine"] = "plateau"
    """plateau: see `patience`; cosine: from lr to 0 at the end of the last epoch"""
    warmup_epochs: float = 0.0
    """epochs, or a part of one, in which the rate rises from 0, step by step"""
    weight_decay: float = 0.0
    """weight decay: AdamW's is decoupled, SGD's is part of the gradient"""
    clip: float = 0.8
    """largest norm of the gradient; 0 = no clipping"""
    patience: int = 10
    """epochs without a lower validation loss before the rate is multiplied by `decay`"""
    decay: float = 0.1
    """factor of the plateau decay"""
    ema: float = 0.0
    """share that a running mean of the weights keeps at every step; the mean is what is scored and saved. 0 = off"""
    swa: float = 0.0
    """stochastic weight averaging: share of the epochs, counted from the end, after each of which the weights are
    averaged; the average is what is scored and saved. 0 = off; not with ema"""
    mixup_alpha: float = 0.3
    """strength of the multimodal manifold mixup, Beta(alpha, alpha); 0 = off"""
    mixup: Literal["manifold", "every_layer", "input"] = "manifold"
    """where samples are blended: after a transformer block drawn anew in each step, as in the paper; every_layer: or
    after a sparse layer, pooling or join; input: always after the embedding (linear, so the inputs are)"""
    mixup_warmup: int = 5
    """epochs before mixup begins"""
    label_smoothing: float = 0.0
    """share of the target spread over all classes (not with multilabel and regression)"""
    best: str = "loss"
    """score of the validation split that chooses the epoch whose weights are kept: loss (without validation clips, the
    training loss) or any that metrics.jsonl has: top1, macro_f1, map, mae, top1_verb; last: the last epoch is kept"""
    best_over: int = 1
    """`best` compares means over this many epochs, and keeps the last of them: where few clips or one person validate,
    a single epoch's score may be good by chance"""
    balance: Literal["none", "weights", "sampler"] = "none"
    """for rare classes. weights: the rarer its class, the more a clip's loss counts (scikit-learn's balanced); sampler:
    an epoch draws as many clips as there are, with replacement, every class alike. Not with regression"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 runs the model under autocast; weights stay float32"""
    device: str = "auto"
    """auto = cuda if there is one, else cpu"""
    cache: Literal["auto", "cpu", "gpu"] = "auto"
    """where the training split's features are kept between epochs. auto: on the GPU, if training runs there, nothing in
    data changes them at random and they fill at most half of its free memory; else in data.cache_mb"""
    cuda_graphs: Literal["auto", "always", "never"] = "auto"
    """whether steps on a GPU are captured once per shape and replayed, which saves launching their kernels one by one.
    auto: of models so small that this takes longer than the kernels, and of no method in a file of your own, whose
    Python would run at capture alone. Batches are padded, so that shapes recur"""
    save_minutes: float = 5.0
    """a checkpoint is written at every epoch's end and after this many minutes within one"""
    replay: int = 4
    """training clips per class that the run keeps as they are inside the model (replay.safetensors), so that
    `finetune` does not forget them; 0 = none"""
    log: Literal["none", "tensorboard"] = "none"
    """tensorboard: the lines of metrics.jsonl in the run's folder `tensorboard`, too (extra `tensorboard`)"""
    workers: int = 0
    """processes that read samples ahead of the training loop. They end with each epoch, and what they read is read
    again: 0 is faster if the samples fit into data.cache_mb"""


@dataclass(frozen=True)
class Distill:
    """What finished runs teach the model, beside the labels (Hinton et al. 2015)."""

    teachers: list[str] = field(default_factory=list)
    """run folders with the same classes, whose calibrated logits are averaged; empty = none"""
    temperature: float = 2.0
    """divides the logits of both before they are compared; without effect in regression"""
    weight: float = 0.5
    """share of a clip's loss that is the distance from the teachers; the rest is that from its label"""
    features: float = 0.0
    """weight of the distance between the CLS tokens that the heads read; for one teacher as wide as the model"""
    unlabelled: str = ""
    """a manifest of more training clips, without labels, which are learned from the teachers' answers alone"""


@dataclass(frozen=True)
class Study:
    """What `study` runs, and how it judges."""

    experiments: list[str] = field(default_factory=lambda: ["t1", "t2", "t3", "t4", "t5", "f2", "robustness"])
    """experiments of the SFT paper (tables 1 to 5, figure 2), and robustness"""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """seeds of every experiment but t1 (and those that read its runs: t2 and robustness)"""
    t1_seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    """seeds of t1"""
    margin: float = 0.02
    """difference in the main metric that does not matter, for verdicts on claims"""


@dataclass(frozen=True)
class Config:
    """Everything a run needs; written whole into the run folder."""

    data: Data = field(default_factory=Data)
    method: str = "sft"
    """name of a fusion method (`sparsefuse train --help` lists them) or a path to a .py file that defines `build`"""
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """options per method, as its `build` takes them: {sft: {keep: {rgb: 12}}, all: {dim: 40}}; `all` goes to every
    method that has the option"""
    features: dict[str, dict[str, Any]] | Usual = field(default_factory=dict)
    """what `extract` makes: {modality: {extractor: frames, source: video, rate: 10}}; or, of whatever the files are,
    raw = pixels, spectrograms and words, auto = what pretrained encoders make of them, if installed, raw,auto = both,
    the latter as NAME_encoder"""
    pixels: Pixels = field(default_factory=Pixels)
    """for data.task segment and translate"""
    points: Points = field(default_factory=Points)
    """for data.task detect"""
    train: Train = field(default_factory=Train)
    recipe: Recipe = "auto"
    """settings of what is not set otherwise: paper = the SFT paper's; small = for hundreds of clips; large = for tens
    of thousands (docs/data.md says what each sets); auto = paper, and with --method auto also the one for so many
    clips"""
    seed: int = 0
    """seed of the weights, the order of samples, dropout and mixup"""
    distill: Distill = field(default_factory=Distill)
    study: Study = field(default_factory=Study)
    """for the verb `study` only"""

    @classmethod
    def load(cls, source: "ConfigLike" = None, **changes: object) -> "Config":
        """The configuration in a YAML file (its paths are relative to its folder), of a manifest, which any other file
        is taken for, or in a mapping, as {"data": {"manifest": "clips.csv"}, "method": "late"}.

        `changes` are fields of `Config`; a mapping changes what it names and leaves the rest:
        `Config.load("clips.yaml", method="late", train={"epochs": 3})`. What neither sets is as the `recipe` says; a
        new recipe for a `Config` sets those fields that are as its own recipe has them. Raises FileNotFoundError for a
        YAML file that does not exist, ValueError for content, a name or a value that no configuration has.
        """
        from sparsefuse.files.typed import from_json, plain

        if isinstance(source, Config) and not changes:
            return source
        tree, place = {}, "configuration"
        if isinstance(source, Config):
            tree = plain(source)
            if changes.get("recipe", source.recipe) != source.recipe:
                tree = differing(tree, plain(cls.load(recipe=source.recipe)))
        elif isinstance(source, Mapping):
            tree = plain(source)
        elif isinstance(source, str | Path):
            tree, place = _tree_of(Path(source)), str(source)
        elif source is not None:
            kind = type(source).__name__
            raise ValueError(f"the configuration is a {kind}; expected a file, a mapping or a sparsefuse.Config")
        sections = {part.name: getattr(part.type, "__dataclass_fields__", {}) for part in fields(cls)}
        for name in changes.keys() - sections.keys():
            if inner := next((section for section, names in sections.items() if name in names), None):
                raise ValueError(f"unknown field {name!r}; did you mean {inner}={{{name!r}: ...}}?")
        return from_json(cls, with_recipe(merged(tree, plain(changes))), place)


ConfigLike = Config | Mapping[str, object] | str | Path | None
"""what `Config.load` takes"""


def _tree_of(path: Path) -> dict[str, Any]:
    return read_tree(path) if path.suffix.lower() in (".yaml", ".yml") else {"data": {"manifest": str(path)}}


def read_tree(path: Path) -> dict[str, Any]:
    """The fields in a YAML file; paths in it, which are relative to its folder, as relative to the current one."""
    from sparsefuse.files.yaml_file import read_yaml

    tree, folder = read_yaml(path, Config), path.parent
    data, train, distill = tree.get("data", {}), tree.get("train", {}), tree.get("distill", {})
    if isinstance(manifest := data.get("manifest"), str) and manifest:
        data["manifest"] = str(folder / manifest)
    if isinstance(lists := data.get("classes"), dict):
        data["classes"] = {name: str(folder / str(file)) for name, file in lists.items()}
    if isinstance(teachers := distill.get("teachers"), list):
        distill["teachers"] = [str(folder / str(run)) for run in teachers]
    if isinstance(clips := distill.get("unlabelled"), str) and clips:
        distill["unlabelled"] = str(folder / clips)
    if isinstance(start := train.get("pretrained"), str) and start and (folder / start).is_dir():
        train["pretrained"] = str(folder / start)  # a folder, not a name on the hub
    return tree


def with_recipe(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with those of their recipe, which they do not set. An unknown recipe, which has none, stays."""
    return merged(SETTINGS.get(str(tree.get("recipe")), {}), tree)


def differing(tree: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """The values that differ from the defaults, tuples as lists."""
    changed = {}
    for name, value in tree.items():
        if isinstance(value, dict) and default.get(name):
            value = differing(value, default[name])
        if value != default.get(name) and value != {}:
            changed[name] = list(value) if isinstance(value, tuple) else value
    return changed


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings join, key by key; anything else above replaces what is below."""
    joined = dict(below)
    for key, value in above.items():
        before = joined.get(key)
        joined[key] = merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return joined


_COUNT, _NUMBER, _SHARE = 10**6, 1e6, 1.0
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**31),
    "train.epochs": (1, _COUNT),
    "train.batch_size": (1, _COUNT),
    "train.lr": (0, _NUMBER),
    "train.momentum": (0, _SHARE),
    "train.warmup_epochs": (0, _COUNT),
    "train.weight_decay": (0, _NUMBER),
    "train.clip": (0, float("inf")),
    "train.patience": (0, _COUNT),
    "train.decay": (0, _SHARE),
    "train.ema": (0, _SHARE),
    "train.swa": (0, 1.000001),
    "train.best_over": (1, _COUNT),
    "train.mixup_alpha": (0, _NUMBER),
    "train.mixup_warmup": (0, float("inf")),
    "train.label_smoothing": (0, _SHARE),
    "train.save_minutes": (0, float("inf")),
    "train.replay": (0, _COUNT),
    "train.workers": (0, 1024),
    "data.modality_dropout": (0, _SHARE),
    "data.token_dropout": (0, _SHARE),
    "data.noise": (0, _NUMBER),
    "data.crop": (0, _SHARE),
    "data.time_warp": (0, _SHARE),
    "data.rotate": (0, 181),
    "data.mirror": (0, _SHARE),
    "data.scale": (0, _SHARE),
    "data.max_length": (0, _COUNT),
    "data.windows": (1, 1001),
    "data.cache_mb": (0, 2**40),
    "data.split.k": (0, 1001),
    "data.split.seed": (0, 2**31),
    "distill.temperature": (0.01, _NUMBER),
    "distill.weight": (0, 1.001),
    "distill.features": (0, _NUMBER),
    "study.margin": (0, _SHARE),
}
"""number: lowest value, and the one it must stay below"""


def check_ranges(config: Config) -> None:
    """Raises ValueError, naming it, for the first number that is out of its range."""
    for place, (low, above) in _RANGES.items():
        value: Any = config
        for name in place.split("."):
            value = getattr(value, name)
        if not low <= value < above:
            raise ValueError(f"{place} is {value}; expected {low} or more, below {above:g}")
    if not 0 < config.data.split.train_share <= 1:
        raise ValueError(f"data.split.train_share is {config.data.split.train_share}; expected more than 0, 1 at most")
    k, fold = config.data.split.k, config.data.split.fold
    if k == 1 or (fold is not None and not 0 <= fold < k):
        raise ValueError(f"data.split.k is {k}, fold {fold}; expected k of 2 or more (0 = off), fold from 0, below k")
    for modality, length in config.data.resample.items():
        if not 1 <= length < _COUNT:
            raise ValueError(f"data.resample: {modality!r} is {length}; expected 1 or more tokens, below {_COUNT:,}")
    for modality, bands in config.data.spec_augment.items():
        _check_low(f"data.spec_augment: {modality!r}", vars(bands), 0)
    for modality, picture in config.data.pictures.items():
        fields = dict(vars(picture))
        _check_low(f"data.pictures: {modality!r}", {key: fields.pop(key) for key in ("height", "width", "channels")}, 1)
        _check_low(f"data.pictures: {modality!r}", fields, 0)
        if picture.crop >= 1 or picture.flip > 1 or picture.contrast > 1:
            raise ValueError(f"data.pictures: {modality!r} is {picture}; expected crop < 1, flip and contrast <= 1")


def _check_low(what: str, fields: dict[str, float], low: int) -> None:
    for name, value in fields.items():
        if not low <= value < _COUNT:
            raise ValueError(f"{what} has {name} {value}; expected {low} or more, below {_COUNT:,}")
