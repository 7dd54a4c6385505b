"""Files of a run folder before the first step: config, env, model and skips, from a configuration and its clips."""

import logging
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from sparsefuse.config import Config
from sparsefuse.data.clips import Clips
from sparsefuse.features import with_files
from sparsefuse.files.located import located
from sparsefuse.files.skipped import lost
from sparsefuse.files.typed import read
from sparsefuse.parallel.cores import cores
from sparsefuse.parallel.devices import device_of
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Environment, Extract, ModelFacts

log = logging.getLogger(__name__)


def write_setup(folder: RunFolder, config: Config, clips: Clips, options: Mapping[str, object], name: str,
                lesson: str | None = None) -> None:  # fmt: skip
    """Writes config.json, env.json, model.json and skipped.jsonl.

    Raises ValueError, before it writes, if the run was started with other clips.
    """
    folder.check_same_clips(clips.fingerprints, clips.labels)
    folder.check_same_contents(clips.seen)
    folder.check_same_lesson(lesson)
    extracted = clips.splits["train"].root / "features.json"
    facts = ModelFacts(
        name=name,
        method=config.method,
        options=options,
        features=clips.features,
        lengths=clips.longest,
        typical=clips.typical,
        labels=clips.labels,
        clips=clips.fingerprints,
        normalised=clips.stats is not None,
        max_length=config.data.max_length,
        resample=config.data.resample,
        windows=config.data.windows,
        patches=clips.splits["train"].fit.patches,
        extract=_extract(extracted) if extracted.is_file() else None,
        lesson=lesson,
    )
    folder.write_located(config)
    folder.write(environment(config.train.device, config.seed))
    folder.write_skips(clips.skips)
    folder.write_seen(clips.seen)
    folder.write_located(facts)
    if clips.skips:
        log.warning("%s left out; %s names them", lost(len(clips.skips)), folder.skip_list)


def _extract(path: Path) -> Extract:
    """How the features were extracted; the file's paths are relative to its folder."""
    made = read(Extract, path)
    change = partial(located, folder=path.parent)
    features = {name: with_files(spec, change) for name, spec in made.features.items()}
    return replace(made, features=features, patches=None)  # they stand beside it, with those that options tell


def environment(device: str, seed: int) -> Environment:
    """The environment of this process."""
    cuda = device_of(device).startswith("cuda")
    return Environment(
        sparsefuse=version("sparsefuse"),
        torch=torch.__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=torch.cuda.get_device_name() if cuda else f"{cores()} CPU cores",
        threads=torch.get_num_threads(),
        commit=_commit(),
        seed=seed,
        command=shlex.join(["sparsefuse", *sys.argv[1:]]),
    )


def _commit() -> str:
    """The commit of the code that runs, with + if it is changed; empty outside a repository."""
    here = Path(__file__).parent
    try:
        call = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        return subprocess.run(call, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
