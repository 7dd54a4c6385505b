"""How fast films become features, against the bare decoder; and features batches, against a training step.

    python benchmarks/data.py          writes results/benchmark-data/cpu-torch<ver>-float32.{csv,md}

All in turns within one process, as in speed.py: a round's ratios are ratios of neighbours. Run from the repository's
root.
"""

import argparse
import logging
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import torch
from torch.utils.data import DataLoader

from sparsefuse.cli.demo import FEATURES, OPTIONS, SECONDS
from sparsefuse.config import Config, Data, Train
from sparsefuse.cost.measure import train_step
from sparsefuse.cost.roofline import seconds
from sparsefuse.data.batches import collate
from sparsefuse.data.clips import Clips, load_clips
from sparsefuse.data.demo import render
from sparsefuse.features.extract import extract
from sparsefuse.files.whole import write_text
from sparsefuse.parallel.memory import keep_memory
from sparsefuse.training.train import new_model

BATCH = 24


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/benchmark-data"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable()
    keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        timed = measured(Path(folder), options.clips, options.rounds)
    base = timed["bare decoder: picture and sound"]
    step = timed["training step, sft"]
    rows = ["| per clip of 3 s | ms | x decoding both | x training step |", "|:--|--:|--:|--:|"]
    lines = ["what,ms,per_decoder,per_step"]
    for name, times in timed.items():
        ms = 1e3 * statistics.median(times) / options.clips
        ratios = [statistics.median(a / b for a, b in zip(times, other, strict=True)) for other in (base, step)]
        rows.append(f"| {name} | {ms:.2f} | {ratios[0]:.2f} | {ratios[1]:.3f} |")
        lines.append(f"{name.replace(',', '')},{ms},{ratios[0]},{ratios[1]}")
    place = f"cpu-torch{'.'.join(torch.__version__.split('+')[0].split('.')[:2])}-float32"
    told = f"{options.clips} rendered clips, one process, {options.threads} threads, batches of {BATCH}, "
    text = "\n".join(["# benchmark-data", "", *rows, "", f"{told}{options.rounds} rounds.\n"])
    write_text(options.out / f"{place}.csv", "\n".join([*lines, ""]))
    write_text(options.out / f"{place}.md", text)
    print(text)


def measured(folder: Path, clips: int, rounds: int) -> dict[str, list[float]]:
    """Seconds for all clips, per round."""
    manifest = render(folder, clips=clips, seconds=SECONDS, progress=False)
    films = sorted((folder / "clips").glob("*.mp4"))
    made = extract(manifest, folder / "features", features=FEATURES, jobs=1, progress=False)
    config = Config(data=Data(manifest=str(made.manifest)), method="sft", options=OPTIONS, train=Train())
    loaded = load_clips(config.data, folder)
    model = new_model(config, loaded)
    batches = list(batched(loaded))
    count = sum(len(batch.ids) for batch in batches)

    def features(*names: str) -> Callable[[], object]:
        chosen = {name: FEATURES[name] for name in names}
        return lambda: extract(manifest, tempfile.mkdtemp(dir=folder), features=chosen, jobs=1, progress=False)

    def steps() -> None:
        for batch in batches:
            train_step(model, batch.tokens)

    works: dict[str, tuple[Callable[[], object], float]] = {
        "bare decoder: picture and sound": (lambda: [decode(film) for film in films], 1),
        "extract: picture": (features("picture"), 1),
        "extract: sound": (features("sound"), 1),
        "extract: picture and sound": (features("picture", "sound"), 1),
        "load a batch": (lambda: list(batched(loaded)), clips / count),  # training clips only
        "training step, sft": (steps, clips / count),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, (work, scale) in works.items():
            found = scale * seconds(work, torch.device("cpu"), 1, warmup=0)[0]
            if turn:  # the first is the warm-up
                times[name].append(found)
    return times


def decode(film: Path) -> int:
    """The least that any reader does: every frame of both streams, converted to nothing."""
    count = 0
    for kind in ("video", "audio"):
        with av.open(str(film)) as container:
            count += sum(1 for _ in container.decode(**{kind: 0}))
    return count


def batched(clips: Clips) -> DataLoader:
    """The training clips in batches, read as training reads them with one process, in a fixed order."""
    return DataLoader(clips.splits["train"], BATCH, collate_fn=lambda samples: collate(samples, clips.features))


if __name__ == "__main__":
    main()
