"""The estimator: data in; a trained run, and predictions with it, out."""

import dataclasses
import shutil
import sys
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsefuse.classifier.answers import labels_of, predictions_of, probabilities_of, readable, results_of, score_of
from sparsefuse.classifier.arguments import AUTO, config_of, words_of_python
from sparsefuse.classifier.checks import check_method, check_names
from sparsefuse.classifier.clips import Form, clips_of
from sparsefuse.classifier.examples import of_disk, of_memory
from sparsefuse.config import Config, Split
from sparsefuse.data.columns import STREAM, Streams, axes_of
from sparsefuse.data.given import is_file, is_share, labelled, manifest_of
from sparsefuse.data.manifest import GROUP, JOIN
from sparsefuse.data.targets import Targets
from sparsefuse.features.extract import extract
from sparsefuse.files.references import MEDIA
from sparsefuse.files.rows import read_table
from sparsefuse.files.typed import plain
from sparsefuse.runs.arguments import OWN
from sparsefuse.runs.copied import DATA
from sparsefuse.runs.fitted import Fitted, read_fitted, write_fitted
from sparsefuse.screen import is_watched, silence

if TYPE_CHECKING:
    from sparsefuse.data.labels import Labels
    from sparsefuse.explain import Explanation
    from sparsefuse.files.skipped import Unusable
    from sparsefuse.inference.predictor import Prediction, Predictor
    from sparsefuse.runs.records import Cost

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
        check_names(self.method, self._options)

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
        check_names(self.method, self._options)
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
        check_method(self.method, self._given, gmacs=self.gmacs, time_limit=self.time_limit)
        vars(self).pop("_remove", lambda: None)()
        with silence(not self._shown), words_of_python():
            return self._fit(X, y, label, valid, group, Path(out) if out else self._temporary(), jobs)

    def _fit(
        self, X: Any, y: Any, label: str | Sequence[str] | None, valid: Any, group: str | None, folder: Path, jobs: int
    ) -> "Classifier":
        """As `fit`, in this folder."""
        from sparsefuse.experiments.asked import check_asked
        from sparsefuse.experiments.ensemble_selection import OTHERS
        from sparsefuse.experiments.sources import check_sources, note_sources
        from sparsefuse.runs.folder import RunFolder
        from sparsefuse.training.extend import check_continues

        names = label.split(JOIN) if isinstance(label, str) else None if label is None else list(label)
        share = VALID if valid is None or not is_share(valid) else float(valid)
        if not 0 <= share < 1:
            raise ValueError(f"valid is {valid}; expected a share of the clips, 0 to below 1, or clips with labels")
        self._data = (folder / DATA).absolute()
        read, wanted = of_disk if isinstance(X, str | Path) else of_memory, self._given.get("modalities") or ()
        manifest, targets, streams = read(X, y, names, valid, group, folder=self._data, wanted=wanted)
        self._fitted_to(X, streams)
        split = Split(fractions=(1 - share, share, 0.0))
        columns = {"label": targets.label, "group": group or GROUP if read is of_disk else GROUP}
        config = config_of(self.method, self._given, manifest, columns, split)
        run = RunFolder(folder / AUTO if self.method == AUTO else folder)
        if self.method == AUTO:
            check_asked(run.path, config, self.gmacs)
        else:
            check_continues(run, config)
        table, features = read_table(manifest), self._given.get("features")
        if features or any(table.holds(name, MEDIA) for name in table.columns):
            made = (manifest.parent if self._data in manifest.parents else self._data) / "features"
            if begun := run.started or (run.path / OTHERS).exists():
                check_sources(run, manifest, table, made)
            sentences = streams.texts if read is of_memory else ()
            extracted = extract(manifest, made, features=features, jobs=jobs, progress=self._shown, sentences=sentences)
            if not begun:
                note_sources(manifest, made)
            manifest = extracted.manifest
        self.run_ = self._trained(config_of(self.method, self._given, manifest, columns, split), folder, jobs)
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
        return labels_of(predictions_of(self._results(X)), labels, self._targets)

    def predict_proba(self, X: Any) -> Any:
        """(n, C) calibrated probabilities of `classes_`; of several columns a list of such arrays. Raises
        AttributeError for regression."""
        labels = self._labels
        if labels.task == "regression":
            raise AttributeError("predict_proba is for classes; the labels are numbers (regression)")
        return probabilities_of(predictions_of(self._results(X)), labels, self._targets, self.classes_)

    def score(self, X: Any, y: Any = None) -> float:
        """The share of clips of which all labels are predicted; for regression R^2. Clips of which nothing can be read
        are left out, and counted in a warning; raises ValueError if no other is there."""
        labels, known = self._labels, self._targets
        with tempfile.TemporaryDirectory() as folder:
            given = manifest_of(X, Path(folder)) if isinstance(X, str | Path) else X
            truth = Targets(labelled(given, y, list(known.names), hint="; or give the labels as y")[1], known)
            results = self._results(given)
        kept = readable(results)
        truth.keep(kept)
        found = labels_of(predictions_of([results[place] for place in kept]), labels, known)
        return score_of(found, truth, labels)

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
            (one,) = clips_of(row if is_file(row) else [row], Path(texts), self._predictor, self._form)
            return explain(self._predictor, one)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Copies the run, for `Classifier.load`, `sparsefuse.load` and every command that takes a run, with the data
        that this `fit` wrote; returns `folder`. Clips and features that lay elsewhere, or that `sparsefuse fit` put
        beside its run, stay there, and are scored again from there.

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
        """For copies and other processes: with the files of the run in place of the model, but not the clips that a
        temporary run was fitted to: once the run is gone, `save` saves none, and says so."""
        from sparsefuse.runs.copied import contents

        state = {name: value for name, value in vars(self).items() if name not in ("predictor_", "_remove")}
        if self.__sklearn_is_fitted__():
            state["_files"] = contents(self.run_)
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
    def _given(self) -> dict[str, Any]:
        """The options, by name."""
        return {name: getattr(self, name) for name in self._options}

    @property
    def _form(self) -> Form:
        return Form(self._axes, self._columns, tuple(getattr(self, "feature_names_in_", ())), self._targets.names)

    @property
    def _labels(self) -> "Labels":
        return self._predictor.labels

    def _fitted_to(self, given: Any, streams: Streams) -> None:
        """Notes what `predict` will be given."""
        self._axes, self._columns = axes_of(given), tuple(streams.cells)
        flat = streams.arrays.get(STREAM)
        self.n_features_in_ = len(self._columns) if flat is None or flat[0] is None else flat[0].shape[1]
        vars(self).pop("feature_names_in_", None)
        if hasattr(given, "columns") or (streams.numbers and not self._axes):
            self.feature_names_in_ = np.array(streams.numbers or self._columns, dtype=object)

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
            targets.learn(labels)
            classes = targets.classes(labels)
            self.classes_: Any = (
                classes if labels.heads else np.arange(targets.matrix) if targets.matrix else classes[0]
            )

    def _results(self, given: Any) -> "list[Prediction | Unusable]":
        """For each clip its prediction, or why there is none."""
        predictor = self._predictor
        with tempfile.TemporaryDirectory() as texts:
            clips = clips_of(given, Path(texts), predictor, self._form)
            with silence(not self._shown):
                return results_of(clips, predictor)
