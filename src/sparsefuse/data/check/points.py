"""`sparsefuse check` of a task on clouds: a configuration in, a report of its scenes and their problems out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from sparsefuse.config import Config
from sparsefuse.config.points import Points
from sparsefuse.data.check.balance import odd_names
from sparsefuse.data.check.groups import groups_of
from sparsefuse.data.check.ids import bad_ids, some
from sparsefuse.data.check.leaks import same_groups
from sparsefuse.data.check.report import Report, Size, Spread, in_order
from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.data.kept import Kept
from sparsefuse.data.manifest import Row
from sparsefuse.data.points.load import Found, Opened, facts_of, nowhere, open_clouds, same_clouds, survey, usable
from sparsefuse.data.points.sample import Loaded, num_channels
from sparsefuse.data.prepare import Losses
from sparsefuse.files.references import split_ref
from sparsefuse.files.rows import numbered, read_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.layers.points.boxes import turned

WIDE, NARROW = 200.0, 0.5
"""metres: where half of the clouds are wider than these, or narrower, their unit is probably another"""
ROOM = 0.05
"""metres around a box in which a point still counts as in it"""


def check_clouds(config: Config, root: Path) -> Report:
    """Reads every scene that the configuration names, as training would; `root` is the folder that its paths are
    relative to. Raises FileNotFoundError if the manifest is missing. All else is a problem in the report."""
    path = root / config.data.manifest
    num_rows = 0
    try:
        table = numbered(read_table(path))
        num_rows = len(table.rows)
        if problems := bad_ids(table):
            return Report(str(path), num_rows, problems=problems)
        opened = open_clouds(config, root)
    except ValueError as error:
        return Report(str(path), num_rows, problems=[broken("manifest", str(error))])
    points, kept = config.points, Kept[Loaded](config.data.cache_mb)
    found = survey(opened.rows, opened.reader, kept)
    problems = [*_faults(found, points, opened.manifest.root), *_gaps(found, points), *nowhere(found, points.cloud)]
    problems += [*_geometry(found, opened, kept), *same_groups(opened.rows)]
    counts: dict[str, dict[str, int]] = {}
    losses = Losses(strict=False)
    try:
        taken, classes = usable(found, points, losses)
        told = {problem.message for problem in problems}
        for skip in losses.skips:
            if (message := f"sample {skip.id}: {skip.reason}") not in told:
                problems.append(broken("label", message, skip.id))
        problems += same_clouds(taken, points.cloud)
        if not taken["train"]:
            raise ValueError(f"no usable training scene; {losses.first()}")
        counts = _counts(taken, classes)
        problems += [*_absent(counts), *odd_names("classes", classes)]
    except ValueError as error:
        problems.append(broken("unusable", str(error)))
    return Report(
        str(path),
        num_rows,
        _measured(found, points),
        balance=counts,
        problems=in_order(problems),
        groups=groups_of(opened.rows),
        columns=_taken_for(table.columns, opened, points),
        measures=("points", "channels"),
    )


def _faults(found: Mapping[str, Sequence[Found]], points: Points, root: Path) -> list[Problem]:
    """Clouds, boxes and pictures that cannot be used."""
    problems = []
    for part in found.values():
        for row, facts in part:
            if isinstance(facts, Unusable):
                refs = [row.files.get(points.cloud, ""), row.label]
                kind = "unreadable" if all(_is_there(ref, root) for ref in refs) else "missing"
                problems.append(broken(kind, f"sample {row.id}: {facts}", row.id))
                continue
            for lost in facts.lost:
                kind = "mismatch" if "its camera says" in str(lost) else "unreadable"
                problems.append(broken(kind, f"sample {row.id}: {lost}", row.id))
    return problems


def _is_there(ref: str, root: Path) -> bool:
    return not ref or (root / ref).exists() or (root / split_ref(ref)[0]).exists()


def _gaps(found: Mapping[str, Sequence[Found]], points: Points) -> list[Problem]:
    """Scenes without pictures, where others have some."""
    scenes = list(facts_of(found))
    lacking = [one.row.id for one, facts in scenes if not facts.sizes]
    if not lacking or len(lacking) == len(scenes):
        return []
    message = f"{points.cameras}: {len(lacking)} of {len(scenes)} scenes have no pictures ({some(lacking)})"
    return [broken("gaps", message, *lacking)]


def _geometry(found: Mapping[str, Sequence[Found]], opened: Opened, kept: Kept[Loaded]) -> list[Problem]:
    """Boxes outside their cloud, cameras that see nothing of it, clouds of another unit."""
    problems, widths = [], []
    for row, scene in _scenes(found, opened, kept):
        widths.append(float((scene.xyz.amax(0) - scene.xyz.amin(0)).max()))
        empty = [box.label for box in scene.boxes if not _inside(scene.xyz, torch.tensor(box.row)).any()]
        if empty:
            message = f"sample {row.id}: {row.label}: {len(empty)} of {len(scene.boxes)} boxes hold no point"
            problems.append(broken("outside", f"{message} ({some(empty)})", row.id))
        blind = [i for i, camera in enumerate(scene.cameras, 1) if not camera.project(scene.xyz).visible.any()]
        if blind:
            what = f"camera {some(list(map(str, blind)))} of {len(scene.cameras)} sees no point of the cloud"
            problems.append(broken("camera", f"sample {row.id}: {what}", row.id))
    if widths and not NARROW <= (usual := median(widths)) <= WIDE:
        fix = "are they in millimetres?" if usual > WIDE else "are they in kilometres, or in fractions of the room?"
        problems.append(broken("metres", f"the median cloud is {usual:.4g} m across; {fix}"))
    return problems


def _scenes(found: Mapping[str, Sequence[Found]], opened: Opened, kept: Kept[Loaded]) -> Iterator[tuple[Row, Loaded]]:
    for one, _ in facts_of(found):
        loaded = kept.get(one.row.id) or opened.reader.read(one.row)
        if not isinstance(loaded, Unusable):
            yield one.row, loaded


def _inside(xyz: Tensor, box: Tensor) -> Tensor:
    """(N) bool: points that a box (7) holds, or nearly."""
    away = xyz - box[:3]
    own = torch.cat([turned(away[:, :2], -box[6].expand(len(xyz))), away[:, 2:]], 1)
    return (own.abs() <= box[3:6] / 2 + ROOM).all(1)


def _counts(found: Mapping[str, Sequence[Found]], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Split -> class -> scenes that have such a box."""
    return {
        split: {name: sum(name in facts.boxes for _, facts in facts_of({split: part})) for name in classes}
        for split, part in found.items()
    }


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


def _measured(found: Mapping[str, Sequence[Found]], points: Points) -> dict[str, Size]:
    scenes = [facts for _, facts in facts_of(found)]
    pictures = [len(facts.sizes) for facts in scenes if facts.sizes]
    sizes = {points.cloud: Size(len(scenes), Spread.of([facts.points for facts in scenes]),
                                num_channels(points.channels))} if scenes else {}  # fmt: skip
    return sizes | ({points.cameras: Size(len(pictures), Spread.of(pictures), 3)} if pictures else {})


def _taken_for(columns: Sequence[str], opened: Opened, points: Points) -> dict[str, str]:
    """Column -> what it is taken for."""
    own = {opened.manifest.group: "group", "id": "id", "split": "split", points.cloud: "clouds",
           points.cameras: "cameras and their pictures", points.boxes: "boxes"}  # fmt: skip
    return {column: own.get(column, "ignored") for column in columns}
