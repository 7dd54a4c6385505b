"""A tiny run that reads media, a server of it, and clips for it: what the tests of the server send."""

import asyncio
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

import tiny
from sparsefuse.media import write_clip
from sparsefuse.serve.access import Access
from sparsefuse.serve.app import application
from sparsefuse.serve.guard import App
from sparsefuse.serve.server import server_of
from sparsefuse.training.train import train

# Frames, but for files that end with a word: decoders do crash and hang, if seldom on demand.
_EXTRACTOR = """
import os, time
import numpy as np
from sparsefuse.features import extractor
SOURCE = "video"
def extract(path, *, rate: float = 5):
    end = path.read_bytes()[-5:]
    if end == b"CRASH":
        os.abort()
    if end == b"HANGS":
        time.sleep(60)
    return extractor("frames")(path, rate=rate, size=(1, 5), gray=True, difference=False)
"""
ANYONE = Access()
_SOUND = {"bins": 4, "context": 0, "every": 8}


def make_run(folder: Path) -> Path:
    """A run on `rgb` (5 wide), made from `video` by an extractor of its own, and `sound` (4 wide), from `audio`."""
    run = train(tiny.config(tiny.write_set(folder / "data"), epochs=1), folder / "run", root=Path(), measured=False)
    extractor = folder / "mine.py"
    extractor.write_text(_EXTRACTOR)
    facts = json.loads((run / "model.json").read_text())
    facts["extract"] = {
        "features": {
            "rgb": {"extractor": str(extractor), "source": "video", "rate": 5},
            "sound": {"extractor": "spectrogram", "source": "audio", **_SOUND},  # and defaults
        }
    }
    (run / "model.json").write_text(json.dumps(facts))
    return run


@contextmanager
def listening(
    service: Any, access: Access = ANYONE, *, page: bool = False, application: Callable[..., App] = application
) -> Iterator[httpx.Client]:
    """A client of a server that listens, in a thread of this process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = server_of(application(service, access, page=page), service, "")
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server has ended"
                time.sleep(0.01)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def make_clip(path: Path, *, seconds: float = 1.0, seed: int = 0, sound: bool = True) -> Path:
    """A clip of noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (round(10 * seconds), 16, 16, 3), dtype=np.uint8)
    wave = rng.uniform(-0.5, 0.5, round(16000 * seconds)).astype(np.float32)
    write_clip(path, pixels, fps=10, sound=wave if sound else None)
    return path


def npy(values: np.ndarray) -> bytes:
    """An array as the bytes of its file."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def features(seed: int = 0, *, length: int = 3) -> dict[str, np.ndarray]:
    """A clip's features."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(length, width)).astype(np.float32) for name, width in tiny.FEATURES.items()}
