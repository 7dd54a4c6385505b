"""Whether what was trained is still of the data that lie there: runs and their configurations in, an error out.

Nothing of a finished run reads its clips again, so nothing else would see that they are others.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

from sparsefuse.config import Config
from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.data.clips import Clips, load_clips
from sparsefuse.data.pixels.load import load_scenes
from sparsefuse.data.pixels.scenes import Scenes
from sparsefuse.data.points.load import load_clouds
from sparsefuse.data.points.scenes import CloudScenes
from sparsefuse.runs.folder import RunFolder
from sparsefuse.training.pixels.results import check_same_scenes
from sparsefuse.training.points.results import check_same_clouds


class Unchanged:
    """The data of configurations as they are now; what several runs are of is read once."""

    def __init__(self) -> None:
        self._read: dict[str, Clips | Scenes | CloudScenes] = {}

    def check(self, run: RunFolder, config: Config, root: Path = Path()) -> None:
        """Raises ValueError, saying what differs, if the clips, classes or files of the run changed since it was
        started; the configuration's paths are relative to `root`. What its teachers say is not looked at."""
        if not run.has(run.describes):
            return  # it was stopped before it had read any
        found = self._of(config, root)
        if isinstance(found, Scenes):
            check_same_scenes(run, found)
        elif isinstance(found, CloudScenes):
            check_same_clouds(run, found)
        else:
            run.check_same_clips(found.fingerprints, found.labels)
            run.check_same_contents(found.seen, more=bool(config.distill.unlabelled))

    def _of(self, config: Config, root: Path) -> Clips | Scenes | CloudScenes:
        config = replace(config, data=replace(config.data, cache_mb=0))
        key = json.dumps(
            [str(root), *(asdict(part) for part in (config.data, config.pixels, config.points))], default=str
        )
        if key not in self._read:
            if config.data.task in PIXEL_TASKS:
                self._read[key] = load_scenes(config, root)
            elif config.data.task in POINT_TASKS:
                self._read[key] = load_clouds(config, root)
            else:
                self._read[key] = load_clips(config.data, root)
        return self._read[key]
