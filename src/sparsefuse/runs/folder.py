"""The run folder: the one place that names, reads and writes its files (see `records`). Needs no torch.

Paths in config.json and model.json are relative to the folder, or absolute; who reads them gets them as they are from
the current folder.

config.json         Config        the configuration
env.json            Environment   versions and machine
model.json          ModelFacts    what prediction needs besides the weights; PixelFacts or PointFacts of a run on scenes
skipped.jsonl       Skip          a line per clip or modality that was left out
metrics.jsonl       Epoch         a line per epoch
model.safetensors                 the weights of the best epoch, and the normalisation (see `weights`)
last.safetensors                  where to resume
calibration.json    Calibration   the temperature of its probabilities
choice.json         Choice        what it was chosen among, with `--method auto`
replay.safetensors                a few old clips (see `training.replay`)
seen.txt                          hashes of the training and validation clips' features, one a line
predictions.csv                   the prediction for every test clip
pictures.csv                      of a run on scenes instead: the scores of every test scene
result.json         Result        scores and cost; written last, so its presence means the run is complete
"""

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from sparsefuse.config import AnyTask, Config, check_ranges
from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.data.fingerprint import Fingerprint, difference
from sparsefuse.data.labels import Labels
from sparsefuse.errors import near_file
from sparsefuse.files.located import located, relative
from sparsefuse.files.skipped import Skip, write_skipped
from sparsefuse.files.typed import from_json, parse, read, write
from sparsefuse.files.whole import read_lines, write_text
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.point_facts import PointFacts
from sparsefuse.runs.records import Calibration, Choice, Environment, Epoch, ModelFacts, Result
from sparsefuse.shown import counted

Record = Config | Environment | ModelFacts | PixelFacts | PointFacts | Calibration | Choice | Result
T = TypeVar("T", bound=Record)
NAMES: dict[type, str] = {
    Config: "config.json",
    Environment: "env.json",
    ModelFacts: "model.json",
    PixelFacts: "model.json",
    PointFacts: "model.json",
    Calibration: "calibration.json",
    Choice: "choice.json",
    Result: "result.json",
}
WEIGHTS, CHECKPOINT, REPLAY = "model.safetensors", "last.safetensors", "replay.safetensors"
EPOCHS, SKIPPED, PREDICTIONS, SEEN = "metrics.jsonl", "skipped.jsonl", "predictions.csv", "seen.txt"
PICTURES = "pictures.csv"
_ON: dict[type, str] = {ModelFacts: "clips", PixelFacts: "pictures", PointFacts: "clouds"}
"""what the models of a run are on, by what describes them"""


def _kind_of(task: str) -> type[PixelFacts] | type[PointFacts]:
    """What describes the model of a task on scenes."""
    return PixelFacts if task in PIXEL_TASKS else PointFacts


@dataclass(frozen=True)
class RunFolder:
    """A run folder by its path. A file with invalid content raises ValueError with the reason."""

    path: Path

    def file(self, kind: type) -> Path:
        """The file of a dataclass of this kind."""
        return self.path / NAMES[kind]

    def has(self, kind: type) -> bool:
        """Whether that file is there."""
        return self.file(kind).is_file()

    def read(self, kind: type[T]) -> T:
        """Reads its file. Raises FileNotFoundError if it is not there."""
        if not self.path.exists():
            raise FileNotFoundError(f"run folder {self.path} not found{near_file(self.path)}")
        if not self.has(kind):
            raise FileNotFoundError(
                f"{self.path} is not a run folder: it has no {NAMES[kind]}; expected what `sparsefuse train` or `fit` "
                "wrote"
            )
        if kind in _ON and (task := self._of_scenes()) and kind is not _kind_of(task):
            raise ValueError(
                f"{self.path} is a run of task {task}, on {_ON[_kind_of(task)]}; expected one on {_ON[kind]}"
            )
        record = with_paths(read(kind, self.file(kind)), partial(located, folder=self.path))
        if isinstance(record, Config):
            try:
                check_ranges(record)
            except ValueError as error:
                raise ValueError(f"{self.file(kind)}: {error}") from error
        return record

    def get(self, kind: type[T]) -> T | None:
        """As `read`; None if the file is not there."""
        return self.read(kind) if self.has(kind) else None

    @property
    def describes(self) -> type[ModelFacts] | type[PixelFacts] | type[PointFacts]:
        """What model.json holds."""
        task = self._of_scenes()
        return _kind_of(task) if task else ModelFacts

    @property
    def task(self) -> AnyTask:
        """What the model of the run predicts, by model.json alone. Raises FileNotFoundError if it is not there."""
        if task := self._of_scenes():
            return self.read(_kind_of(task)).task
        return self.read(ModelFacts).labels.task

    def _of_scenes(self) -> str:
        """The task that model.json names, if it is one on scenes; else empty."""
        path = self.file(ModelFacts)
        tree = parse(path.read_bytes(), str(path)) if path.is_file() else None
        tasks = (*PIXEL_TASKS, *POINT_TASKS)
        return next((task for task in tasks if isinstance(tree, dict) and tree.get("task") == task), "")

    def write(self, record: Record) -> None:
        """Writes its file atomically."""
        write(self.file(type(record)), record)

    def write_located(self, record: Record) -> None:
        """As `write`, with the paths in it relative to this folder in place of the current one."""
        self.write(with_paths(record, partial(relative, folder=self.path)))

    @property
    def weights(self) -> Path:
        """The best weights; see `runs.weights`."""
        return self.path / WEIGHTS

    @property
    def checkpoint(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / CHECKPOINT

    @property
    def replay(self) -> Path:
        """The old clips that the run keeps."""
        return self.path / REPLAY

    @property
    def predictions(self) -> Path:
        """The predictions for the test clips."""
        return self.path / PREDICTIONS

    @property
    def pictures(self) -> Path:
        """The scores of the test scenes."""
        return self.path / PICTURES

    @property
    def skip_list(self) -> Path:
        """What was left out."""
        return self.path / SKIPPED

    def skips(self) -> list[Skip]:
        """What was left out; nothing in a run that was shared."""
        return [from_json(Skip, line, place) for line, place in _lines(self.skip_list)]

    def write_skips(self, skips: list[Skip]) -> None:
        """Writes skipped.jsonl."""
        write_skipped(self.skip_list, skips)

    def write_seen(self, hashes: list[str]) -> None:
        """Writes seen.txt."""
        write_text(self.path / SEEN, "".join(f"{hash}\n" for hash in hashes))

    def seen(self) -> set[str] | None:
        """Hashes of the clips that it was trained or validated on; None in a run that was shared."""
        path = self.path / SEEN
        return set(path.read_text(encoding="utf-8").split()) if path.is_file() else None

    def epochs(self) -> list[Epoch]:
        """The epochs that are done."""
        return [Epoch.of_json(line, place) for line, place in _lines(self.path / EPOCHS)]

    def write_epochs(self, epochs: list[Epoch]) -> None:
        """Writes metrics.jsonl anew."""
        write_text(self.path / EPOCHS, "".join(epoch.line() for epoch in epochs))

    def add_epoch(self, epoch: Epoch) -> None:
        """Adds a line; lines of epochs that a killed run did after its checkpoint are dropped."""
        self.write_epochs([*self.epochs()[: epoch.epoch - 1], epoch])

    @property
    def num_epochs(self) -> int:
        """How many epochs are done, without parsing them."""
        path = self.path / EPOCHS
        return path.read_bytes().count(b"\n") if path.exists() else 0

    @property
    def started(self) -> bool:
        """Whether a run began here."""
        return self.has(Config)

    @property
    def finished(self) -> bool:
        """Whether the run has its results."""
        return self.has(Result)

    @property
    def tested(self) -> bool:
        """Whether it has those of the test split too, if there is one."""
        result = self.get(Result)
        return result is not None and bool(result.test or not result.splits.get("test"))

    def check_same(self, config: Config) -> None:
        """Raises ValueError, naming what differs, if the run was started with another configuration."""
        before, now = (asdict(with_paths(each, os.path.abspath)) for each in (self.read(Config), config))
        check_same_settings(before, now, self.path)

    def check_same_lesson(self, lesson: str | None) -> None:
        """Raises ValueError if the run was started with other teachers, or other clips for them."""
        facts = self.get(ModelFacts)
        if facts is not None and facts.lesson != lesson:
            raise ValueError(
                f"{self.path} was started with other teachers, or clips for them: they changed since; restore them, "
                "give another folder, or remove this one"
            )

    def check_same_clips(self, clips: Mapping[str, Fingerprint], labels: Labels) -> None:
        """Raises ValueError, saying what differs, if the run was started with other clips, splits or classes."""
        facts = self.get(ModelFacts)
        if facts is None:
            return
        check_same_clips(facts.clips, clips, self.path)
        if facts.labels != labels:
            raise ValueError(
                f"{self.path} was started with other classes: a list that data.classes names changed since; restore "
                "it, give another folder, or remove this one"
            )

    def check_same_contents(self, hashes: Collection[str], *, more: bool = False) -> None:
        """Raises ValueError if training and validation clips of the same ids hold something else than those of the run,
        which may have seen `more`; a run that was shared does not know."""
        known = self.seen()
        if known is None:
            return
        if changed := len(set(hashes) - known if more else known ^ set(hashes)):
            raise ValueError(
                f"{self.path} was started with other contents of these clips: {counted(changed, 'file')} of features "
                "changed since; restore them, give another folder, or remove this one"
            )


def with_paths(record: T, change: Callable[[str], str]) -> T:
    """The record with its paths changed: manifest, lists of classes, code, word vectors, and models that are folders.

    What names no file, such as a method or a model on the hub, stays.
    """
    from sparsefuse.features import file_or_name, with_files

    def code(name: str) -> str:
        return change(name) if name.endswith(".py") else name

    if isinstance(record, Config):
        data = replace(
            record.data,
            manifest=change(record.data.manifest),
            classes={column: change(path) for column, path in record.data.classes.items()},
        )
        start = record.train.pretrained
        train = replace(record.train, pretrained=file_or_name(start, change))
        options = {code(name): given for name, given in record.options.items()}
        distill = replace(
            record.distill,
            teachers=[change(run) for run in record.distill.teachers],
            unlabelled=change(record.distill.unlabelled) if record.distill.unlabelled else "",
        )
        return replace(record, data=data, train=train, method=code(record.method), options=options, distill=distill)
    if isinstance(record, ModelFacts):
        specs = {name: with_files(spec, change) for name, spec in record.extractors.items()}
        extract = record.extract and replace(record.extract, features=specs)
        members = record.members and [replace(member, method=code(member.method)) for member in record.members]
        return replace(record, method=code(record.method), extract=extract, members=members)
    return record


def _lines(path: Path) -> list[tuple[object, str]]:
    """The lines of a JSONL file, each with its place."""
    return [(line, f"{path}, line {number}") for number, line in enumerate(read_lines(path), 1)]


def check_same_clips(before: Mapping[str, Fingerprint], now: Mapping[str, Fingerprint], out: Path) -> None:
    """Raises ValueError, saying what differs, if what is in `out` was started with other clips."""
    if changed := difference(before, now):
        raise ValueError(
            f"{out} was started with other clips ({changed}): the manifest or its files changed since; "
            "restore them, give another folder, or remove this one"
        )


def check_same_settings(started: Mapping[str, object], given: Mapping[str, object], out: Path) -> None:
    """Raises ValueError, naming the first setting that differs from those that what is in `out` was started with."""
    before, now = (_flat(json.loads(json.dumps(settings))) for settings in (started, given))
    changed = [key for key in before | now if before.get(key) != now.get(key) and not key.startswith(_FREE)]
    if changed:
        key = changed[0]
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ValueError(
            f"{out} was started with {key}={before.get(key)!r}, not {now.get(key)!r}{more}; "
            "give another folder, or remove this one"
        )


# Settings that do not change the result of a run, but for its last digits and what dropout draws on another device.
_FREE = (
    *("train.workers", "train.log", "train.save_minutes", "train.device", "train.cache", "train.cuda_graphs"),
    *("data.cache_mb", "data.leaks", "study.", "recipe"),  # what a recipe sets stands under its own name
)


def _flat(tree: Mapping[str, object], above: str = "") -> dict[str, object]:
    """{a: {b: 1}} -> {a.b: 1}."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return flat
