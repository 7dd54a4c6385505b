"""The process that decodes untrusted pictures, and predicts: a task in; a scene's prediction or a reason out.

Within it the rules of `serve.reader` hold: a picture that crashes, hangs or takes too much memory ends this process and
one request, not the server.
"""

import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import numpy as np

from sparsefuse.files.skipped import Unusable
from sparsefuse.media.open import import_av
from sparsefuse.media.png import png_of
from sparsefuse.serve.reader import (
    MEMORY,
    NOT_GIVEN,
    ReadTask,
    RefusedClip,
    Result,
    Rules,
    SceneSaid,
    limit_memory,
    refused,
)

if TYPE_CHECKING:
    from sparsefuse.inference.pixels.predictor import PixelPredictor

BROAD = 1024
"""most pixels of a side of a view"""


def serve_scenes(connection: Connection, rules: Rules) -> None:
    """Processes tasks until the connection is closed, or the server dies."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # the server ends its readers after their requests
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    from sparsefuse.inference.pixels.predictor import load_pixels

    sys.modules["torch"].set_num_threads(1)
    predictor = load_pixels(rules.run, device=rules.device)
    import_av()
    limit_memory()
    connection.send(None)  # ready
    while True:
        try:
            task: ReadTask = connection.recv()
            connection.send(result_of(task, predictor))
        except (EOFError, BrokenPipeError):
            return


def result_of(task: ReadTask, predictor: "PixelPredictor") -> Result:
    """Does one task; any error refuses the scene."""
    try:
        scene = {file.field: file.path for file in task.files}
        present = predictor.read(scene)
        lost = {name: why for name, why in present.missing.items() if why != NOT_GIVEN}
        if lost:  # who sends a picture wants it to be read
            raise Unusable("; ".join(lost.values()))
        prediction = predictor.predict(scene)
        assert not isinstance(prediction, list), "one scene, one prediction"
        views = _views(predictor, scene, prediction.pixels()) if task.work == "explain" else {}
        return SceneSaid(prediction.to_json(), prediction.png(), views)
    except MemoryError:
        return _too_much(task)
    except ValueError as error:
        return refused(task, str(error))
    except Exception as error:
        if "memory" in str(error).lower():  # torch has no exception class for it
            return _too_much(task)
        return refused(task, f"cannot be read ({type(error).__name__})", traceback.format_exc())


def _too_much(task: ReadTask) -> RefusedClip:
    return refused(task, f"needs more than {MEMORY / 2**30:g} GiB of memory; send smaller pictures")


def _views(predictor: "PixelPredictor", scene: dict, prediction: np.ndarray) -> dict[str, bytes]:
    """What is to be seen, on a page."""
    from sparsefuse.data.pixels.read import read_picture
    from sparsefuse.report.pixels.shown import seen, smaller

    views = {}
    for name in predictor.streams:
        stream = predictor.facts.stream(name)
        if name in scene and stream.kind != "auto":
            views[name] = seen(read_picture(scene[name], stream).numpy(), stream.kind)
    views["prediction"] = prediction
    return {name: png_of(np.ascontiguousarray(smaller(pixels, BROAD))) for name, pixels in views.items()}
