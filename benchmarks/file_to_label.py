"""How long a clip takes from its file to its label with an exported model, in parts of the clip's own length.

    python benchmarks/file_to_label.py MODEL.onnx CLIP.mp4 ...

One process, one thread: decoding, features (made by sparsefuse where the model does not take sound) and the model.
Prints the median over the clips, and its parts.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are loaded

import statistics
import sys
import time
from pathlib import Path

import torch

from sparsefuse.export.program import Input, pad
from sparsefuse.export.runner import open_file
from sparsefuse.features import extractor, resolve
from sparsefuse.files.whole import read_json
from sparsefuse.media import read_sound
from sparsefuse.media.seconds import seconds


def main() -> None:
    """See the module's docstring."""
    torch.set_num_threads(1)
    model, clips = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    card, run = read_json(model.with_suffix(".json")), open_file(model)
    inputs = [Input(i["name"], i["kind"], i["width"], i["tokens"], i["rate"]) for i in card["inputs"]]
    makers = {i["name"]: i["extract"] for i in card["inputs"]}
    shares, parts = [], []
    for clip in [clips[0], *clips]:  # the first warms up
        start = time.perf_counter()
        streams = {given.name: _stream(clip, given, makers[given.name]) for given in inputs}
        made = time.perf_counter()
        run(pad([streams], inputs))
        end = time.perf_counter()
        shares.append((end - start) / seconds(clip, "video"))
        parts.append((1e3 * (made - start), 1e3 * (end - made)))
    before, after = (statistics.median(part) for part in zip(*parts[1:], strict=True))
    middle, worst = statistics.median(shares[1:]), max(shares[1:])
    print(f"{len(clips)} clips: {middle:.3f} of a clip's length (median), at most {worst:.3f}")
    print(f"decoding and features {before:.1f} ms, model {after:.1f} ms (medians)")


def _stream(clip: Path, given: Input, spec: dict) -> torch.Tensor:
    if given.kind == "sound":
        return torch.from_numpy(read_sound(clip, rate=given.rate or 0))
    options = {name: value for name, value in spec.items() if name not in ("extractor", "source")}
    return torch.from_numpy(extractor(spec["extractor"])(clip, **resolve(spec["extractor"], options)))


if __name__ == "__main__":
    main()
