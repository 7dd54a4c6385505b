"""What a fitted `Classifier` was given to predict in, clips that its `Predictor` reads out."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sparsefuse.classifier.examples import streams_among
from sparsefuse.data.columns import STREAM, Streams, absent, axes_of, columns_of, write_texts
from sparsefuse.data.given import is_cell, is_file, manifest_of
from sparsefuse.errors import lacking
from sparsefuse.features import PART
from sparsefuse.files.references import FILES, suffix
from sparsefuse.files.rows import SUFFIXES
from sparsefuse.shown import shown

if TYPE_CHECKING:
    from sparsefuse.inference.predictor import Clip, Predictor


_RESHAPED = {
    (1, 2): "of a vector (F,), one clip is X[None]",
    (1, 3): "of a vector (F,), one clip of one token is X[None, None]",
    (2, 3): "of an array (N, F), one clip is X[None]",
    (3, 2): "of clips of one token (n, 1, F), X[:, 0]",
    (4, 3): "of clips (N, H, W), tokens of (H, W), X.reshape(*X.shape[:2], -1)",
}
"""axes of an array, and those of `fit` -> how to get there"""


class Form(NamedTuple):
    """How the data of `fit` came, and those of `predict` must."""

    axes: int
    """of an array; 0 for data with names"""
    columns: tuple[str, ...]
    """names of the streams"""
    names: tuple[str, ...]
    """`feature_names_in_`"""
    labels: tuple[str, ...]
    """columns of labels"""


def clips_of(given: Any, texts: Path, predictor: "Predictor", form: Form) -> "list[Clip]":
    """What the predictor reads of each clip; sentences are written below `texts`."""
    text = isinstance(given, str) and suffix(given) not in {*FILES, *SUFFIXES} and not os.path.exists(given)
    of_numbers = form.columns == (STREAM,) and bool(form.names)
    if of_numbers and _is_table(given):
        raise ValueError(
            f"X is the path {str(given)!r}; fit was given a table whose rows are clips; give the table itself: "
            f"pandas.read_csv({str(given)!r})"
        )
    if is_file(given) or _is_clip(given, predictor) or (text and any(map(predictor.reads_text, predictor.columns))):
        return [given]
    if isinstance(given, Mapping) or (hasattr(given, "items") and not hasattr(given, "columns")):
        row = dict(cast(Any, given).items())  # pandas' Series of one clip; of one column it has numbers for names
        named = {str(name): value for name, value in row.items()}
        if any(is_cell(named.get(name)) for name in (*form.columns, *form.names)):
            given = [row]
    if isinstance(given, list) and all(map(is_file, given)) and STREAM not in predictor.columns:
        return given
    if not form.axes and _is_nameless(given):
        given = {_only_stream(given, predictor, form): given}
    if (axes := axes_of(given)) != form.axes:
        fitted = "an array (n, N, F), or a list of arrays (N, F)" if form.axes == 3 else "an array (n, F)"
        if not axes:
            raise ValueError(f"X is {type(given).__name__}; fit was given {fitted}; give such")
        hint = _RESHAPED.get((axes, form.axes), f"fit was given {fitted}")
        raise ValueError(
            f"X has {axes} {'axis' if axes == 1 else 'axes'}, {form.axes} in fit. Reshape your data: {hint}"
        )
    columns = columns_of(manifest_of(given, texts) if isinstance(given, str | Path) else given)
    names = list(form.names)
    known = [name for name in columns if name in predictor.columns]
    if of_numbers:
        known = _as_fitted(names, list(columns), ordered=hasattr(given, "columns"))
    read = {name: columns[name] for name in known} if known else columns
    # texts of a stream may be of one word here; one called `x` may be a column of those that make the stream x
    wanted = [] if of_numbers else [name for name in read if name in form.columns]
    streams = streams_among(read, set(form.labels), wanted)
    if streams.numbers and STREAM not in predictor.model.features:
        names = ", ".join(map(shown, streams.numbers))
        raise ValueError(f"X has a number a clip in {names}; the model was fitted to arrays, files or texts")
    _check_same(predictor, streams, list(columns), form.labels)
    cells = {**streams.cells, **{name: write_texts(texts / name, text) for name, text in streams.texts.items()}}
    if predictor.extract:
        cells = {name: columns[name] for name in PART if name in columns} | cells
    rows = zip(*cells.values(), strict=True)
    return [{name: cell for name, cell in zip(cells, row, strict=True) if not absent(cell)} for row in rows]


def _is_clip(given: Any, predictor: "Predictor") -> bool:
    """Whether it is the path of a table that is a clip itself, as a sensor's readings, rather than a manifest."""
    from sparsefuse.inference.inputs import is_readings  # it loads torch

    return _is_table(given) and is_readings(Path(given), predictor)


def _is_table(given: Any) -> bool:
    return isinstance(given, str | Path) and suffix(str(given)) in SUFFIXES and os.path.isfile(given)


def _is_nameless(given: Any) -> bool:
    """Whether it is an array or a list of clips, not of dicts."""
    if hasattr(given, "columns") or hasattr(given, "tocsr") or isinstance(given, Mapping | str | Path):
        return False
    if not isinstance(given, Sequence) and not getattr(given, "ndim", 0):
        return False
    return not isinstance(next((clip for clip in given if not absent(clip)), None), Mapping)


def _only_stream(given: Any, predictor: "Predictor", form: Form) -> str:
    """The column that the model reads. Raises ValueError, naming them, if there are several."""
    model = [predictor.source(name) or name for name in predictor.model.modalities]
    names = list(form.names) if form.columns == (STREAM,) and form.names else list(dict.fromkeys(model))
    if len(names) == 1:
        return names[0]
    streams = ", ".join(f"{name!r:.60}: [...]" for name in names)
    raise ValueError(
        f"X is {type(given).__name__} without names of streams; fit was given {', '.join(map(shown, names))}; give "
        f"a DataFrame with these columns, or {{{streams}}}"
    )


def _check_same(predictor: "Predictor", streams: Streams, columns: list[str], labels: Sequence[str]) -> None:
    """Raises ValueError unless these are the streams that the model was fitted to."""
    model, extract = predictor.model, predictor.extract
    for name in model.modalities:
        source = extract.get(name, {}).get("source", name)
        if not {name, source} & {*columns, *streams.cells}:
            known = {*predictor.columns, *labels}
            raise ValueError(f"X {lacking(source, 'the model was fitted to', columns, known)}")
    for name, texts in streams.texts.items():
        if name in predictor.columns and not predictor.reads_text(name):
            first = next(text for text in texts if text)
            raise ValueError(
                f"{name}: X has words ({shown(first)!r}), which the model does not read; give arrays (N, F), or "
                "paths of files, as in fit"
            )
    for name, arrays in streams.arrays.items():
        if name not in model.features:
            made = [stream for stream in model.modalities if predictor.source(stream) == name]
            raise ValueError(f"{name}: X has arrays; fit was given files or texts, of which {', '.join(made)} is made")
        width = next(x.shape[1] for x in arrays if x is not None)
        if width != (expected := model.features[name]):
            vector = f". A vector is N tokens of one feature; as one token of its {expected} features, give x[None]"
            raise ValueError(
                f"{name}: X has {width} features, but Classifier is expecting {expected} features as input: a clip "
                f"is an array (N, {expected}), this one (N, {width}){vector if width == 1 else ''}"
            )


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
