"""Detection: a run and scenes, a cloud each with any pictures of it, in; boxes out."""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsefuse.config.points import Points
from sparsefuse.data.pixels.read import as_picture, raw
from sparsefuse.data.points.augment import fixed
from sparsefuse.data.points.batches import collate
from sparsefuse.data.points.dataset import normalised, together
from sparsefuse.data.points.read import Points as Read
from sparsefuse.data.points.read import as_cameras, as_points, read_cameras, read_cloud
from sparsefuse.data.points.sample import COLOR, Pictures, Reader, channels_of
from sparsefuse.data.points.scenes import CloudScene
from sparsefuse.errors import unknown
from sparsefuse.files.skipped import Unusable, one_file
from sparsefuse.inference.points.detections import Detections, View
from sparsefuse.layers.points.nouns import Boxes
from sparsefuse.model.points import DetectionModel
from sparsefuse.once import log_once
from sparsefuse.parallel.devices import device_of
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.parts import OF_CLOUDS
from sparsefuse.runs.point_facts import PointFacts
from sparsefuse.runs.point_weights import PointStats, load_point_model
from sparsefuse.shown import said

log = logging.getLogger(__name__)

Scene = Mapping[str, Any]
"""cloud: a file, or an array (N, 3), or (N, 6) with red, green and blue; cameras: a file, or a list of what it holds;
rgb: pictures, files or arrays, in the order of the cameras, in place of those that these name; root: the folder that
names in a file of cameras are relative to, else its own folder or the one above. All but the cloud may be left out."""


def load_points(run: str | Path, *, device: str = "cpu") -> "PointPredictor":
    """Loads the best model of a run folder of a task on clouds; see `inference.load`."""
    loaded = load_point_model(RunFolder(Path(run)))
    return PointPredictor(loaded.model.to(device_of(device)).eval(), loaded.facts, loaded.stats)


class PointPredictor:
    """A trained model with its classes, normalisation and how its scenes are read."""

    def __init__(self, model: DetectionModel, facts: PointFacts, stats: PointStats):
        self.model, self.facts, self.stats = model, facts, stats

    @property
    def reads_pictures(self) -> bool:
        """Whether it reads any; a scene may have none all the same."""
        return self.model.reads_pictures and self.facts.frames != 0

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def reader(self, root: Path) -> Reader:
        """Reads files of scenes, relative to `root`, as those of the run were read."""
        facts = self.facts
        frames = facts.frames if self.reads_pictures else 0
        return Reader(root, Points(channels=facts.channels, num_points=facts.num_points, frames=frames,
                                   height=facts.height, width=facts.width))  # fmt: skip

    def predict(self, scenes: Scene | Sequence[Scene]) -> Detections | list[Detections]:
        """One prediction for one scene, a list for a list.

        Raises Unusable for a scene whose cloud cannot be read, the first of a list (`results` gives those of the
        others); ValueError for unknown parts.
        """
        found = []
        for result in self.results([scenes] if isinstance(scenes, Mapping) else scenes):
            if isinstance(result, Unusable):
                raise result
            found.append(result)
        return found[0] if isinstance(scenes, Mapping) else found

    def results(self, scenes: Iterable[Scene]) -> Iterator[Detections | Unusable]:
        """For each scene its prediction, or why there is none, in their order. A scene that fails stops no other."""
        for scene in scenes:
            try:
                yield self._detections(*self.read(scene))
            except Unusable as error:
                yield error

    def read(self, scene: Scene) -> tuple[CloudScene, View, list[str]]:
        """A scene as the model sees it, without boxes; what boxes are drawn on; and which pictures it lacks. Raises
        Unusable and ValueError; see `predict`."""
        if not isinstance(scene, Mapping):
            raise ValueError(f"a scene is {type(scene).__name__}; expected {{'cloud': path or array}}")
        for name in scene:
            if name not in OF_CLOUDS:
                raise ValueError(unknown("part of a scene", name, OF_CLOUDS))
        if "cloud" not in scene:
            raise Unusable("cloud: not given")
        cloud, colors = self._cloud(scene["cloud"])
        found = self._pictures(scene)
        xyz, x = torch.from_numpy(cloud.xyz), channels_of(cloud, self.facts.channels)
        pictures, cameras = normalised(found.pictures, self.stats), together(found.cameras)
        whole = CloudScene("", xyz, x, pictures, cameras, torch.zeros(0, 7), torch.zeros(0, dtype=torch.long))
        view = View(cloud.xyz, colors, [p.numpy() for p in found.pictures], found.cameras)
        return fixed(whole, self.facts.num_points), view, [str(why) for why in found.lost]

    @torch.inference_mode()
    def _detections(self, scene: CloudScene, view: View, missing: list[str]) -> Detections:
        batch = collate([scene])
        cloud = type(batch.cloud)(*(part.to(self.device) for part in batch.cloud))
        pictures = cameras = None
        if batch.pictures is not None and batch.cameras is not None:
            pictures = batch.pictures.to(self.device)
            cameras = type(batch.cameras)(*(part.to(self.device) for part in batch.cameras))
        found = self.model.boxes(self.model(cloud, pictures, cameras))
        if not all(bool(part.isfinite().all()) for part in (found.centre, found.size, found.yaw, found.score)):
            raise Unusable("the model's boxes are not finite: its weights or its input are broken")
        return Detections(_best_first(found), tuple(self.facts.classes), view, missing)

    def _cloud(self, cloud: Any) -> tuple[Read, np.ndarray | None]:
        """Points with what the model reads of them; and their colors to draw, where they have any."""
        color = "color" in self.facts.channels
        if not isinstance(cloud, str | Path):
            values = _array(cloud, "cloud")
            wide = values.ndim == 2 and values.shape[1] >= 6
            places, colors = (values[:, :3], values[:, 3:6]) if wide else (values, None)
            read = as_points(places, colors, color=color)
            if wide and not color:  # for drawing alone
                with contextlib.suppress(Unusable):
                    read = as_points(places, colors, color=True)
        else:
            ref = str(cloud)
            with one_file(ref):
                read = read_cloud(ref, Path(), color=color)
                if not color:  # for drawing alone
                    with contextlib.suppress(Unusable):
                        read = read_cloud(ref, Path(), color=True)
        if read.nowhere:
            log_once(log, "rows of clouds that are NaN or infinite are no points, and left out")
        return read, None if read.rgb is None else (255 * read.rgb).round().astype(np.uint8)

    def _pictures(self, scene: Scene) -> Pictures:
        cameras, given = scene.get("cameras"), scene.get("rgb")
        if not self.reads_pictures or cameras is None or (isinstance(cameras, str | Path) and not str(cameras)):
            lost = [Unusable("rgb: has no cameras, which say what the pictures show; give cameras")] if given else []
            return Pictures([], [], lost if self.reads_pictures else [])
        if given is None and isinstance(cameras, str | Path):
            root = Path(scene["root"]) if scene.get("root") else root_of(Path(cameras))
            return self.reader(root).pictures(str(Path(cameras).absolute()))
        found = Pictures([], [], [])
        try:
            known = read_cameras(str(cameras), Path()) if isinstance(cameras, str | Path) else as_cameras(
                [{"picture": f"picture {i}", **camera} for i, camera in enumerate(cameras, 1)])  # fmt: skip
        except Unusable as error:
            return found._replace(lost=[error])
        rgb = [camera.picture for camera in known] if given is None else list(given)
        if len(rgb) != len(known):
            return found._replace(lost=[Unusable(f"rgb: has {len(rgb)} pictures for {len(known)} cameras")])
        reader, root = self.reader(Path()), Path(scene.get("root") or "")
        for camera, picture in list(zip(known, rgb, strict=True))[: self.facts.frames]:
            try:
                one, sized = reader.fitted(_picture(picture, camera.picture, root), camera)
            except Unusable as error:
                found.lost.append(error)
            else:
                found.pictures.append(one)
                found.cameras.append(sized)
        return found


def _picture(picture: Any, name: str, root: Path) -> Tensor:
    """(H, W, 3) from 0 to 1. Raises Unusable."""
    if isinstance(picture, str | Path):
        from sparsefuse.data.pixels.read import read_picture

        with one_file(picture):
            return read_picture(root / picture, COLOR)
    return as_picture(raw(_array(picture, name), name), COLOR, name)


def _array(values: Any, name: str) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    try:
        found = np.asanyarray(values)
    except (TypeError, ValueError) as error:
        raise Unusable(f"{name}: {type(values).__name__} is not an array of numbers ({said(error)})") from error
    if np.ma.is_masked(found):
        raise Unusable(f"{name}: has masked values; leave masked points out, and give pictures without a mask")
    return np.asarray(found)


def root_of(cameras: Path) -> Path:
    """Where the pictures are that a file of cameras names: beside it, or as in generated rooms one folder up."""
    here = cameras.absolute().parent
    try:
        first = next(iter(read_cameras(cameras.name, here)), None)
    except Unusable:
        return here  # reading it again says why
    return here.parent if first and not (here / first.picture).is_file() else here


def _best_first(boxes: Boxes) -> Boxes:
    """Of one scene, the real ones (1, M), on the processor."""
    boxes = Boxes(*(part.cpu() for part in boxes))
    real = boxes.mask[0].nonzero()[:, 0]
    order = real[boxes.score[0, real].argsort(descending=True, stable=True)]
    return Boxes(*(part[:, order] for part in boxes))
