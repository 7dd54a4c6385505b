"""`sparsefuse check` of a task on pixels: a configuration in, a report of its pictures and their problems out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from sparsefuse.config import Config
from sparsefuse.config.pixels import PictureStream
from sparsefuse.data.check.balance import odd_names
from sparsefuse.data.check.groups import groups_of
from sparsefuse.data.check.ids import bad_ids, some
from sparsefuse.data.check.leaks import same_groups
from sparsefuse.data.check.report import Report, Size, Spread, in_order
from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.data.kept import Kept
from sparsefuse.data.pixels.leaks import same_pictures
from sparsefuse.data.pixels.load import Opened, check_present, coarse, open_scenes
from sparsefuse.data.pixels.read import channels_of
from sparsefuse.data.pixels.sample import OtherSize
from sparsefuse.data.pixels.survey import Facts, Found, shown_classes, survey, usable
from sparsefuse.data.prepare import Losses
from sparsefuse.files.references import split_ref
from sparsefuse.files.rows import numbered, read_table
from sparsefuse.files.skipped import Unusable

FAR, NEAR = 200.0, 0.01
"""metres: where the depth of half of all pictures lies beyond these, its unit is probably another"""


def check_pictures(config: Config, root: Path) -> Report:
    """Reads every picture that the configuration names, as training would; `root` is the folder that its paths are
    relative to. Raises FileNotFoundError if the manifest is missing. All else is a problem in the report."""
    path = root / config.data.manifest
    num_rows = 0
    try:
        table = numbered(read_table(path))
        num_rows = len(table.rows)
        if problems := bad_ids(table):
            return Report(str(path), num_rows, problems=problems)
        opened = open_scenes(config, root)
    except ValueError as error:
        return Report(str(path), num_rows, problems=[broken("manifest", str(error))])
    reader = opened.reader
    found = survey(opened.rows, reader, Kept(0))
    losses = Losses(strict=False)
    problems = [*_faults(found, opened.manifest.root), *_gaps(found, tuple(reader.streams)), *_sizes(found)]
    problems += [broken("unit", text) for text in coarse(config.pixels, reader.streams)]
    problems += [*_flat(found), *_units(found, reader.streams), *same_groups(opened.rows)]
    counts: dict[str, dict[str, int]] = {}
    sizes: dict[str, Size] = {}
    try:
        kept, classes = usable(found, config.pixels, losses, labels=reader.target is None)
        problems += _lost(losses, problems)
        problems += same_pictures(kept)
        if not kept["train"]:
            raise ValueError(f"no usable training sample; {losses.first()}")
        for name in reader.streams:
            check_present(name, kept["train"], losses.skips)
        counts = _counts(kept, classes)
        problems += [*_absent(counts), *odd_names("classes", classes)]
        sizes = _measured(kept, channels_of(reader.streams))
    except ValueError as error:
        problems.append(broken("unusable", str(error)))
    return Report(
        str(path),
        num_rows,
        sizes,
        balance=counts,
        problems=in_order(problems),
        groups=groups_of(opened.rows),
        columns=_taken_for(table.columns, opened),
        measures=("pixels", "channels"),
    )


def _each(found: Mapping[str, Sequence[Found]]) -> Iterator[tuple[Found, str, Facts | Unusable]]:
    """Row, stream and what its picture is like."""
    return ((one, name, facts) for part in found.values() for one in part for name, facts in one.streams.items())


def _faults(found: Mapping[str, Sequence[Found]], root: Path) -> list[Problem]:
    """Pictures that cannot be used."""
    problems = []
    for part in found.values():
        for one in part:
            cells = [(one.row.files[name], facts, "unreadable") for name, facts in one.streams.items()]
            for ref, facts, kind in [*cells, (one.row.label, one.target, "label")]:
                if isinstance(facts, Unusable):
                    kind = "mismatch" if isinstance(facts, OtherSize) else kind if _is_there(ref, root) else "missing"
                    problems.append(broken(kind, f"sample {one.row.id}: {facts}", one.row.id))
    return problems


def _is_there(ref: str, root: Path) -> bool:
    return not ref or (root / ref).exists() or (root / split_ref(ref)[0]).exists()


def _lost(losses: Losses, told: Sequence[Problem]) -> list[Problem]:
    """What training would leave out, except for the pictures that `_faults` reports."""
    messages = {problem.message for problem in told}
    problems = []
    for skip in losses.skips:
        message = f"sample {skip.id}: {skip.reason}"
        if message not in messages:
            problems.append(broken("dropped" if skip.reason == "no usable stream" else "label", message, skip.id))
    return problems


def _gaps(found: Mapping[str, Sequence[Found]], streams: Sequence[str]) -> list[Problem]:
    """Streams that rows do not have."""
    rows = [one.row for part in found.values() for one in part]
    problems = []
    for name in streams:
        if lacking := [row.id for row in rows if name not in row.files]:
            message = f"{name}: {len(lacking)} of {len(rows)} samples have none ({some(lacking)})"
            problems.append(broken("gaps", message, *lacking))
    return problems


def _sizes(found: Mapping[str, Sequence[Found]]) -> list[Problem]:
    sizes: dict[str, dict[tuple[int, int], int]] = {}
    for _, name, facts in _each(found):
        if isinstance(facts, Facts):
            of = sizes.setdefault(name, {})
            of[facts.size] = of.get(facts.size, 0) + 1
    problems = []
    for name, of in sizes.items():
        if len(of) > 1:
            usual = sorted(of, key=lambda size: -of[size])
            shown = some([f"{height} x {width} ({of[height, width]})" for height, width in usual], 3)
            problems.append(broken("sizes", f"{name}: {len(of)} picture sizes: {shown}"))
    return problems


def _flat(found: Mapping[str, Sequence[Found]]) -> list[Problem]:
    """Pictures of one value, and depth without a measurement."""
    problems = []
    for one, name, facts in _each(found):
        if isinstance(facts, Facts) and (facts.moments is None or not facts.moments.spread.any()):
            what = "nothing was measured" if facts.moments is None else f"every pixel is {facts.low:g}"
            problems.append(broken("flat", f"sample {one.row.id}: {one.row.files[name]}: {what}", one.row.id))
    return problems


def _units(found: Mapping[str, Sequence[Found]], streams: Mapping[str, PictureStream]) -> list[Problem]:
    """Depth that lies so far away, or so near, that its unit must be another."""
    problems = []
    for name, stream in streams.items():
        means = [
            float(facts.moments.mean[0])
            for _, of, facts in _each(found)
            if of == name and isinstance(facts, Facts) and facts.moments is not None
        ]
        if stream.kind == "depth" and means and not NEAR <= (usual := median(means)) <= FAR:
            fix = "were millimetres read as metres?" if usual > FAR else "were metres read as millimetres?"
            problems.append(broken("unit", f"{name}: the pictures' mean depth has a median of {usual:.4g} m; {fix}"))
    return problems


def _counts(found: Mapping[str, Sequence[Found]], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Split -> class -> pictures that show it; without classes, all."""
    if not classes:
        return {split: {"all": len(part)} for split, part in found.items()}
    shown = {split: shown_classes(part) for split, part in found.items()}
    return {split: {name: of[number] for number, name in enumerate(classes)} for split, of in shown.items()}


def _absent(counts: Mapping[str, Mapping[str, int]]) -> list[Problem]:
    problems = []
    for split, of in counts.items():
        absent = [name for name, count in of.items() if not count]
        if not any(of.values()):
            problems.append(broken("split", f"{split} has no usable sample"))
        elif absent:
            message = f"{split} has no sample of {len(absent)} of {len(of)} classes: {some(absent)}"
            problems.append(broken("absent", message))
    return problems


def _measured(found: Mapping[str, Sequence[Found]], channels: Mapping[str, int]) -> dict[str, Size]:
    pixels: dict[str, list[int]] = {name: [] for name in channels}
    for _, name, facts in _each(found):
        if isinstance(facts, Facts):
            pixels[name].append(facts.size[0] * facts.size[1])
    return {name: Size(len(of), Spread.of(of), channels[name]) for name, of in pixels.items() if of}


def _taken_for(columns: Sequence[str], opened: Opened) -> dict[str, str]:
    """Column -> what it is taken for."""
    reader, taken = opened.reader, dict[str, str]()
    for column in columns:
        stream = reader.target if column in opened.manifest.labels else reader.streams.get(column)
        kind = stream.kind if stream else ""
        unit = f", in steps of {stream.unit:g} m" if stream and kind == "depth" else ""
        if column in opened.manifest.labels:
            taken[column] = f"target pictures ({kind}{unit})" if stream else "label pictures"
        elif stream:
            taken[column] = f"pictures ({kind}{unit})"
        else:
            own = {opened.manifest.group: "group", "id": "id", "split": "split"}
            taken[column] = own.get(column, "ignored")
    return taken
