"""The Python front door: an estimator with scikit-learn's conventions over the same training as the command line's."""

import dataclasses
import logging
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from sparsefuse.arguments import AUTO, OWN, SETTINGS, check_is_no_data, words_of_python
from sparsefuse.config import AnyTask, Config, Split, Task, Usual
from sparsefuse.data.columns import (
    ROW,
    STREAM,
    Columns,
    Streams,
    absent,
    axes_of,
    columns_of,
    streams_of,
    write_manifest,
    write_texts,
)
from sparsefuse.data.given import column_of, digest_of, gathered, is_cell, is_file, is_share, labelled, manifest_of
from sparsefuse.data.labels import parts
from sparsefuse.data.manifest import GROUP, JOIN, group_column, label_columns
from sparsefuse.data.targets import Targets, array, targets_of
from sparsefuse.errors import nearest, unknown
from sparsefuse.features import check_specs
from sparsefuse.features.extract import extract
from sparsefuse.files.references import FILES, MEDIA, suffix
from sparsefuse.files.rows import SUFFIXES, read_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.files.typed import plain
from sparsefuse.methods import methods, option_names
from sparsefuse.options import check_kind
from sparsefuse.runs.copied import DATA
from sparsefuse.runs.fitted import Fitted, read_fitted, write_fitted
from sparsefuse.screen import is_watched, silence
from sparsefuse.shown import counted, shown

if TYPE_CHECKING:
    from sparsefuse.data.labels import Labels
    from sparsefuse.explain import Explanation
    from sparsefuse.inference.predictor import Clip, Prediction, Predictor
    from sparsefuse.runs.records import Cost

log = logging.getLogger(__name__)

VALID = 0.15
"""share of the clips that validates, if nobody says which do"""


class Classifier:
    """A multimodal classifier: `fit`, `predict`, `predict_proba`, `score`, as scikit-learn's, whose `clone`,
    `cross_val_score` and `GridSearchCV` take it.

    `method` is the name of a fusion method, a .py file that defines `build`, or "auto": each stream alone and several
    fusion methods are tried, the poor ones for few epochs, and the one with the best score on the validation clips
    stays, between equals the cheapest; `gmacs` leaves out those whose cost for a clip is above it, and the best that
    there is after `time_limit` (seconds, or "20m", "1.5h") is kept.

    `fit` shows its progress, a line with the epoch, the time left and the scores, on a terminal and in a notebook;
    `verbose=0` never does, `verbose=1` everywhere, in a file as some ten lines.

    Options go by their names: `epochs`, `lr`, `batch_size`, `device` and all other fields of `config.Train`;
    `modalities`, `task`, `split`, `crop` and all others of `config.Data`, but for the manifest and its label; `seed`;
    `recipe`, "small" for a few hundred clips, which sets what these leave; `features`, which extractors read media
    files; everything else is an option of the method (`keep`, `dim`; with "auto" of those methods that have it).

    The data, in `fit`, `predict` and `score`:

    - a DataFrame, a dict of columns, or a list of dicts: columns of arrays (N, F), of paths to feature or media files,
      or of sentences are streams; others are left out, and named in a log line;
    - one stream `x`: an array (n, N, F), a list of arrays (N, F), of paths, or of sentences; an array (n, F) or columns
      of numbers alone: clips of one token;
    - a path: a manifest, or a folder with a folder of clips per class.

    Columns `id`, `split`, `group`, `start` and `end` mean what they mean in a manifest. None: a clip lacks the stream.

    The labels decide the task, unless `task` does: words, whole numbers and booleans are classes; numbers with a
    fraction mean regression; lists, words joined by |, or a matrix of 0 and 1 as y, several classes a clip; several
    columns (`label="verb+noun"`, a list of names, or a DataFrame as y) a class in each.
    """

    def __init__(
        self,
        method: str = "sft",
        *,
        gmacs: float | None = None,
        time_limit: str | float | None = None,
        verbose: bool | int | None = None,
        **options: Any,
    ) -> None:
        self.method, self.gmacs, self.time_limit, self.verbose = method, gmacs, time_limit, verbose
        vars(self).update(options)
        self._options = tuple(options)
        self._check_names()

    def _temporary(self) -> Path:
        """A folder that lives as long as this object, or until the next `fit`."""
        folder = Path(tempfile.mkdtemp(prefix="sparsefuse-"))
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments it was made with."""
        return {name: getattr(self, name) for name in (*OWN, *self._options)}

    def set_params(self, **params: Any) -> "Classifier":
        """Changes arguments by name. Raises ValueError for an unknown one."""
        self._options = tuple(dict.fromkeys([*self._options, *(name for name in params if name not in OWN)]))
        vars(self).update(params)
        self._check_names()
        return self

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        label: str | Sequence[str] | None = None,
        valid: Any = None,
        group: str | None = None,
        out: str | Path | None = None,
        jobs: int = 1,
    ) -> "Classifier":
        """Trains on the clips `X`, whose labels are `y` or the column `label`: without a name the one called "label",
        or the only one that may hold labels, which a warning names. A column `group` (a person, a film) is kept within
        one split.

        `valid` are the clips that choose the best epoch: data like `X`, or (X, y); or the share that is drawn for it,
        0.15 if there is no column `split`; 0 = none. No clip is held back for a test, unless the column says so. `out`
        is the run folder, which a second call continues; without it, it is temporary, and gone with this object.
        `jobs`: processes that extract features, and that train for "auto"; 0 = one per core.
        Raises ValueError or TypeError, saying what and where, for data that cannot be used.
        """
        self._check_method()
        vars(self).pop("_remove", lambda: None)()
        with silence(not self._shown), words_of_python():
            return self._fit(X, y, label, valid, group, Path(out) if out else self._temporary(), jobs)

    def _fit(
        self, X: Any, y: Any, label: str | Sequence[str] | None, valid: Any, group: str | None, folder: Path, jobs: int
    ) -> "Classifier":
        """As `fit`, in this folder."""
        from sparsefuse.runs.folder import RunFolder
        from sparsefuse.training.extend import check_continues

        names = label.split(JOIN) if isinstance(label, str) else None if label is None else list(label)
        share = VALID if valid is None or not is_share(valid) else float(valid)
        if not 0 <= share < 1:
            raise ValueError(f"valid is {valid}; expected a share of the clips, 0 to below 1, or clips with labels")
        self._data = (folder / DATA).absolute()
        read = self._of_disk if (of_disk := isinstance(X, str | Path)) else self._of_memory
        manifest, targets = read(X, y, names, valid, group)
        split = Split(fractions=(1 - share, share, 0.0))
        columns = {"label": targets.label, "group": group or GROUP if of_disk else GROUP}
        if self.method != AUTO:
            check_continues(RunFolder(folder), self._config(manifest, columns, split))
        table = read_table(manifest)
        if self._given("features") or any(table.holds(name, MEDIA) for name in table.columns):
            place = manifest.parent if self._data in manifest.parents else self._data
            features = self._given("features")
            manifest = extract(
                manifest, place / "features", features=features, jobs=jobs, progress=self._shown
            ).manifest
        self.run_ = self._trained(self._config(manifest, columns, split), folder, jobs)
        write_fitted(self.run_, self._fitted(targets))
        self._load(targets, getattr(self, "device", "auto"))
        return self

    @classmethod
    def load(cls, run: str | Path, *, device: str = "auto", trust_code: bool = False) -> "Classifier":
        """The fitted Classifier of a run folder, as `save`, or `fit` with `out`, left it; of a run that a command
        trained too, whose labels are texts as in its manifest. `device` and `trust_code` as in `sparsefuse.load`.

        Raises FileNotFoundError if there is no run, ValueError for one on pictures or clouds, or whose files do not
        fit each other.
        """
        from sparsefuse.runs.folder import RunFolder
        from sparsefuse.runs.records import ModelFacts
        from sparsefuse.runs.weights import check_trusted

        run = Path(run)
        if not RunFolder(run).has(ModelFacts) and RunFolder(run / AUTO).has(ModelFacts):
            run /= AUTO  # where `fit` puts it, beside the candidates
        check_trusted(RunFolder(run), RunFolder(run).read(ModelFacts), trust_code=trust_code)
        fitted = read_fitted(run)
        arguments: dict[str, Any] = {**fitted.options, "method": fitted.method}
        clf = cls(**arguments)
        clf.run_, clf._data = run, (run / DATA).absolute()
        clf._axes, clf._columns, clf.n_features_in_ = fitted.axes, tuple(fitted.columns), fitted.num_features
        if fitted.names is not None:
            clf.feature_names_in_ = np.array(fitted.names, dtype=object)
        clf._load(fitted.targets, device)
        return clf

    def predict(self, X: Any) -> np.ndarray:
        """The label of each clip, as the labels were in `fit`: (n,) values, of several classes lists or texts a|b; of
        several columns (n, columns). `X` may also be one clip: a path, a text, a row, or a dict of its streams.
        Raises Unusable, naming the clip, for one of which nothing can be read."""
        labels = self._labels
        values = [self._targets.value(each.label, labels) for each in self._predictions(X)]
        if self._targets.matrix:
            return np.array(values)
        return np.array(values, dtype=object) if labels.task == "heads" else array(values)

    def predict_proba(self, X: Any) -> Any:
        """(n, C) calibrated probabilities of `classes_`; of several columns a list of such arrays. Raises
        AttributeError for regression."""
        labels = self._labels
        if labels.task == "regression":
            raise AttributeError("predict_proba is for classes; the labels are numbers (regression)")
        shares = np.array([list(each.probabilities.values()) for each in self._predictions(X)])
        place = {name: i for i, name in enumerate(labels.classes)}
        if self._targets.matrix:  # training may have had no clip of a class
            known = [(column, place[str(column)]) for column in range(self._targets.matrix) if str(column) in place]
            columns, places = zip(*known, strict=True)
            whole = np.zeros((len(shares), self._targets.matrix))
            whole[:, columns] = shares[:, places]
            return whole
        if not labels.heads:
            return shares[:, [place[self._targets.text(value)] for value in self.classes_]]
        classes = [
            [place[f"{head}:{self._targets.text(value)}"] for value in values]
            for head, values in zip(labels.heads, self.classes_, strict=True)
        ]
        return [shares[:, places] for places in classes]

    def score(self, X: Any, y: Any = None) -> float:
        """The share of clips of which all labels are predicted; for regression R^2."""
        found = self.predict(X)
        with tempfile.TemporaryDirectory() as folder:
            given = columns_of(manifest_of(X, Path(folder))) if isinstance(X, str | Path) else X
        known = self._targets
        truth = Targets(labelled(given, y, list(known.names), hint="; or give the labels as y")[1], known)
        if self._labels.task == "regression":
            (values,) = truth.texts.values()
            true, said = np.array(values, dtype=float), found.astype(float)
            return float(1 - ((true - said) ** 2).sum() / ((true - true.mean()) ** 2).sum())
        answers = list(found.T) if self._labels.heads else targets_of(found).values()
        columns = zip(truth.texts.values(), answers, strict=True)
        right = [[_set(t) == _set(truth.text(a)) for t, a in zip(*column, strict=True)] for column in columns]
        return float(np.mean(np.all(right, axis=0)))

    def cost(self) -> "Cost":
        """What a clip of typical length costs: GMACs, parameters, latency and memory; these the first call measures."""
        from sparsefuse.cost.measure import measure
        from sparsefuse.runs.folder import RunFolder
        from sparsefuse.runs.records import ModelFacts, Result

        model, run = self._predictor.model, RunFolder(self.run_)
        result = run.read(Result)
        if result.cost.latency_ms is None:
            measured = measure(model, run.read(ModelFacts).typical)
            result = dataclasses.replace(result, cost=dataclasses.replace(result.cost, **measured._asdict()))
            run.write(result)
        return result.cost

    def explain(self, clip: Any) -> "Explanation":
        """What the model looked at in a clip: a row of a DataFrame, a dict of streams, an array, a path, or a text."""
        from sparsefuse.explain import explain

        row = dict(clip.items()) if hasattr(clip, "items") else clip
        with tempfile.TemporaryDirectory() as texts:
            (one,) = self._clips(row if is_file(row) else [row], Path(texts))
            return explain(self._predictor, one)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Copies the run folder, for `Classifier.load`, `sparsefuse.load` and every command that takes a run, with the
        data that `fit` wrote; returns `folder`.

        `overwrite` replaces a run that is in the folder; nothing else is ever deleted. Raises FileExistsError if there
        is something; a temporary run then stays, where the error says, when the script ends.
        """
        from sparsefuse.runs.copied import copy_run

        assert self._predictor
        folder = Path(folder)
        if folder.resolve() == self.run_.resolve():
            return folder  # `fit` wrote it there
        temporary: weakref.finalize | None = vars(self).get("_remove")
        try:
            copy_run(self.run_, folder, self._data, overwrite=overwrite)
        except FileExistsError as error:
            if temporary is None:
                raise
            temporary.atexit = False
            raise FileExistsError(f"{error}. The trained run stays in {self.run_} when this process ends") from error
        if temporary is not None:
            temporary.atexit = True
        return folder

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in self.get_params().items() if name in self._options]
        return f"Classifier({', '.join([repr(self.method), *given])})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "run_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        data = InputTags(two_d_array=True, three_d_array=True, string=True, dict=True)
        own = ClassifierTags(multi_label=True)
        return Tags("classifier", TargetTags(required=True), None, own, None, input_tags=data)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and other processes: with the files of the run in place of the model."""
        state = {name: value for name, value in vars(self).items() if name not in ("predictor_", "_remove")}
        if self.__sklearn_is_fitted__():
            state["_files"] = {file.name: file.read_bytes() for file in self.run_.iterdir() if file.is_file()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop("_files", None)
        vars(self).update(state)
        if files is not None:
            self.run_ = self._temporary()
            for name, content in files.items():
                (self.run_ / Path(name).name).write_bytes(content)
            self._load(self._targets, getattr(self, "device", "auto"))

    @property
    def _predictor(self) -> "Predictor":
        if not self.__sklearn_is_fitted__():
            kind = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", ValueError)
            raise kind("this Classifier is not fitted yet; call fit first")
        return self.predictor_

    @property
    def _shown(self) -> bool:
        """Whether progress is shown."""
        return is_watched() if self.verbose is None else bool(self.verbose)

    @property
    def _labels(self) -> "Labels":
        return self._predictor.labels

    def _of_memory(
        self, given: Any, y: Any, names: list[str] | None, valid: Any, group: str | None
    ) -> tuple[Path, Targets]:
        """The manifest of clips in memory, written, and their labels."""
        columns, labels = gathered(given, y, names, valid, [group] if group else [])
        if group is not None:
            columns["group"] = column_of(columns, group)
        targets = Targets(labels)
        self._fitted_to(given, streams := self._streams(columns, {*labels, group}))
        marks = {name: columns[name] for name in ROW if name in columns} | targets.texts
        return write_manifest(self._data / digest_of(streams, marks), streams, marks), targets

    def _of_disk(
        self, given: str | Path, y: Any, names: list[str] | None, valid: Any, group: str | None
    ) -> tuple[Path, Targets]:
        """The manifest that is there, or of a folder with a folder per class."""
        if y is not None or not is_share(valid):
            raise ValueError(
                f"{given}: labels and validation clips are columns of a manifest (label, split); y, and clips for "
                "valid, go with data in memory"
            )
        manifest, streams = manifest_of(given, self._data), self._given("modalities") or ()
        table = read_table(manifest)
        apart = group_column(manifest, table, group or GROUP, streams, "group")
        label = JOIN.join(names) if names else None
        names = label_columns(manifest, table, label, "label", [*streams, apart])
        self._fitted_to(given, self._streams(columns_of(manifest), {*names, apart}))
        return manifest, Targets({name: [] for name in names})

    def _streams(self, columns: Columns, others: Collection[str | None]) -> Streams:
        """Those of columns that are not `others`, such as labels; only `modalities` if these are given and columns."""
        columns = {name: cells for name, cells in columns.items() if name not in others}
        wanted = self._given("modalities") or ()
        return streams_of(columns, wanted if set(wanted) <= columns.keys() else ())

    def _fitted_to(self, given: Any, streams: Streams) -> None:
        """Notes what `predict` will be given."""
        self._axes, self._columns = axes_of(given), tuple(streams.cells)
        flat = streams.arrays.get(STREAM)
        self.n_features_in_ = len(self._columns) if flat is None or flat[0] is None else flat[0].shape[1]
        vars(self).pop("feature_names_in_", None)
        if hasattr(given, "columns") or (streams.numbers and not self._axes):
            self.feature_names_in_ = np.array(streams.numbers or self._columns, dtype=object)

    def _config(self, manifest: Path, columns: Mapping[str, str], split: Split) -> Config:
        """The configuration of a run."""
        method = "sft" if self.method == AUTO else self.method
        sections: dict[str, dict[str, Any]] = {"train": {}, "data": {}, "": {}, "options": {}}
        for name in self._options:
            sections[SETTINGS.get(name, "options")][name] = getattr(self, name)
        data = {"split": split, **sections["data"], "manifest": manifest, **columns}
        options = {"all" if self.method == AUTO else method: sections["options"]}
        return Config.load(method=method, options=options, data=data, train=sections["train"], **sections[""])

    def _trained(self, config: Config, folder: Path, jobs: int) -> Path:
        """The run folder of the trained model."""
        from sparsefuse.training.train import train

        name = ""
        if self.method == AUTO:
            from sparsefuse.experiments.auto import auto
            from sparsefuse.experiments.clock import Clock

            folder = folder / AUTO
            clock = Clock.begin(folder / "clock.json", self.time_limit)
            name, config = auto(config, folder, clock=clock, gmacs=self.gmacs, jobs=jobs)
        return train(config, folder, root=Path(), resume=True, name=name, measured=False, shown=self._shown)

    def _fitted(self, targets: Targets) -> Fitted:
        """What `load` needs beside the run."""
        options = {name: value for name, value in self.get_params().items() if name != "method"}
        names = list(self.feature_names_in_) if hasattr(self, "feature_names_in_") else None
        shape = (list(self._columns), self._axes, self.n_features_in_, names)
        return Fitted(str(self.method), plain(options), *shape, targets.kinds, targets.matrix, targets.lists)

    def _load(self, targets: Targets, device: str) -> None:
        """Makes the trained model ready."""
        from sparsefuse.inference.predictor import load

        # the code of a method or extractor is the caller's own, which ran in training, or `load` was told to trust it
        self.predictor_ = load(self.run_, device=device, trust_code=True)
        self._targets = targets
        self.__dict__.pop("classes_", None)
        if (labels := self.predictor_.labels).task != "regression":
            classes = targets.classes(labels)
            self.classes_: Any = (
                classes if labels.heads else np.arange(targets.matrix) if targets.matrix else classes[0]
            )

    def _predictions(self, given: Any) -> "list[Prediction]":
        """One for each clip. Raises Unusable, naming the clip, for the first that there is none for."""
        from sparsefuse.data.prepare import watched

        predictor = self._predictor
        with tempfile.TemporaryDirectory() as texts:
            clips = self._clips(given, Path(texts))
            with silence(not self._shown):
                results = list(watched(predictor.results(clips), "predicting", total=len(clips)))
        found, lacking = [], []
        for place, result in enumerate(results):
            if isinstance(result, Unusable):
                raise Unusable(f"clip {place}: {result}")
            found.append(result)
            lacking += [f"clip {place}: {name}: {why}" for name, why in result.missing.items() if why != "not given"]
        if lacking:
            log.warning("%s left out, which cannot be read; the first: %s", counted(len(lacking), "stream"), lacking[0])
        return found

    def _clips(self, given: Any, texts: Path) -> "list[Clip]":
        """What the predictor reads of each clip; sentences are written below `texts`."""
        predictor = self._predictor
        text = isinstance(given, str) and suffix(given) not in {*FILES, *SUFFIXES} and not os.path.exists(given)
        if is_file(given) or (text and any(map(predictor.reads_text, predictor.columns))):
            return [given]
        if isinstance(given, Mapping) or (hasattr(given, "items") and not hasattr(given, "columns")):
            row = dict(cast(Any, given).items())  # pandas' Series of one clip; of one column it has numbers for names
            if any(is_cell(row.get(name)) for name in (*self._columns, *getattr(self, "feature_names_in_", ()))):
                given = [row]
        if isinstance(given, list) and all(map(is_file, given)) and STREAM not in predictor.columns:
            return given
        if axes_of(given) and not self._axes:
            streams = ", ".join(f"{name!r:.60}: [...]" for name in self._columns)
            raise ValueError(
                f"X is {type(given).__name__} without names of streams; fit was given {', '.join(self._columns)}; give "
                f"a DataFrame with these columns, or {{{streams}}}"
            )
        if axes_of(given) != self._axes:
            raise ValueError(
                f"X has {axes_of(given)} axes, {self._axes} in fit. Reshape your data: of an array (N, F), one clip is "
                "X[None]"
            )
        columns = columns_of(manifest_of(given, texts) if isinstance(given, str | Path) else given)
        names: list[str] = list(getattr(self, "feature_names_in_", ()))
        known = [name for name in columns if name in predictor.columns]
        if self._columns == (STREAM,) and names:
            known = _as_fitted(names, list(columns), ordered=hasattr(given, "columns"))
        streams = self._streams({name: columns[name] for name in known} if known else columns, set(self._targets.names))
        self._check_same(streams, list(columns))
        cells = {**streams.cells, **{name: write_texts(texts / name, text) for name, text in streams.texts.items()}}
        rows = zip(*cells.values(), strict=True)
        return [{name: cell for name, cell in zip(cells, row, strict=True) if not absent(cell)} for row in rows]

    def _check_same(self, streams: Streams, columns: list[str]) -> None:
        """Raises ValueError unless these are the streams that the model was fitted to."""
        model, extract = self._predictor.model, self._predictor.extract
        for name in model.modalities:
            source = extract.get(name, {}).get("source", name)
            if not {name, source} & {*columns, *streams.cells}:
                raise ValueError(f"X lacks a column that the model was fitted to: {unknown('column', source, columns)}")
        for name, arrays in streams.arrays.items():
            width = next(x.shape[1] for x in arrays if x is not None)
            if width != (expected := model.features[name]):
                vector = f". A vector is N tokens of one feature; as one token of its {expected} features, give x[None]"
                raise ValueError(
                    f"{name}: X has {width} features, but Classifier is expecting {expected} features as input: a clip "
                    f"is an array (N, {expected}), this one (N, {width}){vector if width == 1 else ''}"
                )

    def _check_names(self) -> None:
        """Raises ValueError, with the nearest match, for an argument that is no setting and no method's option, and for
        data in the place of the method."""
        check_is_no_data(self.method)
        options = [name for name in self._options if name not in SETTINGS]
        if options and not str(self.method).endswith(".py"):
            known = {name for method in methods() for name in option_names(method)} | SETTINGS.keys()
            for name in options:
                if name not in known:
                    raise ValueError(nearest("argument", name, known))

    def _check_method(self) -> None:
        """Raises ValueError for a method that is not there, or that lacks an option, for tasks of scenes, and for
        arguments of another kind that are used before the configuration is made."""
        if (task := self._given("task")) in get_args(AnyTask) and task not in get_args(Task):
            raise ValueError(
                f"task={task!r} is not for a Classifier, which predicts labels of whole clips; give its manifest to "
                "sparsefuse.train (docs/pixels.md, docs/detect.md)"
            )
        check_kind(Sequence[str] | None, self._given("modalities"), "modalities")
        check_kind(float | None, self.gmacs, "gmacs")
        if isinstance(features := self._given("features"), Mapping):
            check_specs(features)
        elif features:
            check_kind(Usual, features, "features")
        options = [name for name in self._options if name not in SETTINGS]
        available = {name for method in self._methods() for name in option_names(method)}
        for name in options:
            if name not in available:
                raise ValueError(nearest(f"option of {self.method}", name, available | SETTINGS.keys()))
        for name in ("gmacs", "time_limit"):
            if getattr(self, name) is not None and self.method != AUTO:
                given = f"{name}={getattr(self, name)}"
                raise ValueError(f"{given} chooses among methods; it needs method={AUTO!r}, not {self.method!r}")

    def _methods(self) -> list[str]:
        from sparsefuse.experiments.candidates import METHODS

        return list(METHODS) if self.method == AUTO else [str(self.method)]

    def _given(self, name: str) -> Any:
        """An option, if it was given."""
        return getattr(self, name) if name in self._options else None


def _as_fitted(names: list[str], columns: list[str], *, ordered: bool) -> list[str]:
    """The `names` of columns of numbers that a model was fitted to. Raises ValueError if one is not among the columns,
    or, of a DataFrame, whose columns are `ordered`, stands elsewhere."""
    there = [name for name in columns if name in names]
    if len(there) < len(names) or (ordered and there != names):
        raise ValueError(
            "The feature names should match those that were passed during fit: "
            f"{', '.join(map(shown, columns))} are not {', '.join(map(shown, names))}"
        )
    return names


def _set(label: str) -> list[str]:
    """The classes that a label names, in whatever order."""
    return sorted(parts(label))
