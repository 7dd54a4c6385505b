"""Extraction of broken films, killed at random: does every good clip come out once, every bad one with its reason?

    python benchmarks/faults.py        2,000 rows, one in twenty broken in ten ways, five kills
    python benchmarks/faults.py --rows 300 --kills 2

Compares all files with those of a run that nobody killed, byte by byte. Exit code 1 if something is wrong.
"""

import argparse
import ctypes
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from typing import Any

import av
import numpy as np

from sparsefuse.files.rows import read_table, write_table
from sparsefuse.files.shard import places
from sparsefuse.media import write_clip

FEATURES = {
    "picture": {"extractor": "frames", "source": "video", "rate": 5, "size": [16, 24]},
    "sound": {"extractor": "spectrogram", "source": "video", "bins": 32},
    "large": {"extractor": "frames", "source": "film", "rate": 5, "size": [480, 480], "dtype": "uint8"},
}
BROKEN: dict[str, str] = {
    "truncated": "cut short",
    "zero_bytes": "is empty",
    "text": "expected a media file",
    "no_audio": "has no sound",
    "turned": "",
    "variable_rate": "",
    "odd_size": "",
    "no_length": "has no picture",
    "corrupt_packet": "",
    "forbidden": "permission",
}
"""Kind of broken file -> what its reason says; empty where the clip is fine and must come out."""
SHARE = 0.05
LARGE = 10
"""One row in so many has features so large that they are a file of their own."""


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problems = check(Path(folder), options.rows, options.kills, options.jobs, options.seed)
    print("\n".join(problems) or "all as it should be")
    sys.exit(bool(problems))


def check(folder: Path, rows: int, kills: int, jobs: int, seed: int) -> list[str]:
    """What went wrong; empty if nothing did."""
    manifest, kinds = write_set(folder, rows, seed)
    start = time.monotonic()
    last = run(manifest, folder / "whole", jobs)
    if last.wait():
        return ["the run that nobody killed failed"]
    seconds = time.monotonic() - start
    rng, counts = random.Random(seed), [0]
    for number in range(kills):
        # At a random amount of work, and from there at a random moment.
        aim = rng.uniform(counts[-1] + 1, 2 * rows * (number + 1) / (kills + 1))
        process = run(manifest, folder / "killed", jobs)
        while progress(folder / "killed") < aim and process.poll() is None:
            time.sleep(rng.random() / 20)
        process.kill()
        if process.wait() == 0:
            return ["a run ended before it was killed"]
        counts.append(progress(folder / "killed"))
        print(f"kill {number + 1}: {counts[-1]} features were made", flush=True)
    if run(manifest, folder / "killed", jobs).wait():
        return ["the last run failed"]
    print(f"{rows} rows, {kills} kills, {seconds:.0f} s without a kill")
    return [
        *([] if counts == sorted(set(counts)) else [f"a kill lost features: {counts}"]),
        *compared(folder / "whole", folder / "killed"),
        *judged(folder / "killed", kinds),
    ]


def progress(out: Path) -> int:
    """Features that are there, in shards or as parts."""
    found = set()
    for path in out.glob("*/.parts/[!.]*.safetensors"):
        found.add((path.parts[-3], path.name.rsplit(".", 2)[0]))
    for path in [*out.glob("*/[!.]*.safetensors"), *out.glob("*/[0-9]*/[!.]*.safetensors")]:
        found |= {(path.relative_to(out).parts[0], name) for name in places(path)}
    return len(found)


def compared(left: Path, right: Path) -> list[str]:
    """Files that differ; the journals hold times."""
    found = [
        {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != ".made.jsonl"
        }
        for folder in (left, right)
    ]
    return [
        f"{name} differs"
        for name in sorted(found[0].keys() | found[1].keys())
        if found[0].get(name) != found[1].get(name)
    ]


def judged(out: Path, kinds: dict[str, str]) -> list[str]:
    """Clips that are missing, doubled or wrong, and reasons that are."""
    from sparsefuse.data.arrays import read_array

    problems = []
    rows = {row["id"]: row for row in read_table(out / "manifest.csv").rows}
    reasons: dict[str, list[str]] = {}
    for line in (out / "skipped.jsonl").read_text().splitlines():
        entry = json.loads(line)
        reasons.setdefault(entry["id"], []).append(entry["reason"])
    for name, kind in kinds.items():
        words = BROKEN.get(kind, "")
        if words:
            if len(reasons.get(name, [])) != 1 or words not in reasons[name][0].lower():
                problems.append(f"{name} ({kind}): {reasons.get(name)}")
            if (name in rows) != (kind == "no_audio"):
                problems.append(f"{name} ({kind}): {rows.get(name)}")
            continue
        if name not in rows or name in reasons:
            problems.append(f"{name} ({kind}) is missing: {reasons.get(name)}")
            continue
        picture, sound = (read_array(rows[name][column], out) for column in ("picture", "sound"))
        if int(name[4:]) % LARGE == 0 and read_array(rows[name]["large"], out).shape != (5, 480 * 480):
            problems.append(f"{name} ({kind}): {rows[name]['large']}")
        if picture.shape != (5, 384) or abs(len(sound) - 100) > 7:
            problems.append(f"{name} ({kind}): {picture.shape}, {sound.shape}")
        if not (picture[:, 0] > 0.9).all() or not (picture[:, -1] < 0.1).all():
            problems.append(f"{name} ({kind}) is not upright: {picture[:, 0]}, {picture[:, -1]}")
    stored = Counter(row[column] for row in rows.values() for column in FEATURES if row[column])
    return problems + [f"{reference} stands {count} times" for reference, count in stored.items() if count > 1]


def run(manifest: Path, out: Path, jobs: int) -> subprocess.Popen[bytes]:
    """An extraction in a process of its own, which obeys file permissions even for root."""
    options = ["--out", str(out), "--jobs", str(jobs), "--features", json.dumps(FEATURES)]
    return subprocess.Popen(
        [sys.executable, "-m", "sparsefuse", "extract", str(manifest), *options],
        preexec_fn=_without_root_s_rights,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _without_root_s_rights() -> None:
    drop, override, search = 24, 1, 2  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH of linux/prctl.h
    for right in (override, search):
        ctypes.CDLL(None).prctl(drop, right, 0, 0, 0)


def write_set(folder: Path, rows: int, seed: int, *, share: float = SHARE) -> tuple[Path, dict[str, str]]:
    """The manifest, and the kind of each id's file: a few good films again and again, broken ones between them."""
    films = folder / "films"
    good = [films / f"good{number}.mp4" for number in range(4)]
    for number, path in enumerate(good):
        write_clip(path, picture(number), fps=10, sound=noise(number))
    makers: dict[str, Callable[[Path, Path], None]] = {
        "truncated": lambda path, film: write(path, film.read_bytes()[: film.stat().st_size // 2]),
        "zero_bytes": lambda path, film: write(path, b""),
        "text": lambda path, film: write(path, b"this is not a film\n" * 200),
        "no_audio": lambda path, film: write_clip(path, picture(0), fps=10),
        "turned": lambda path, film: write_turned(path),
        "variable_rate": lambda path, film: write_stamped(path, [0, 1, 2, 5, 6, 7, 8, 9]),
        "odd_size": lambda path, film: write_stamped(path, list(range(10)), size=(33, 47)),
        "no_length": lambda path, film: write_stamped(path, []),
        "corrupt_packet": lambda path, film: write(path, spoilt(film.read_bytes())),
        "forbidden": lambda path, film: write(path, film.read_bytes(), mode=0),
    }
    assert set(makers) == set(BROKEN)
    rng = random.Random(seed)
    broken = set(rng.sample(range(rows), round(share * rows)))
    kinds: dict[str, str] = {}
    table, turns = [], cycle(BROKEN)
    for number in range(rows):
        kind = next(turns) if number in broken else "good"
        path = films / f"{kind}{number}.mp4" if number in broken else good[number % 4]
        if number in broken:
            makers[kind](path, good[0])
        kinds[f"clip{number:05d}"] = kind
        cell = str(path.relative_to(folder))
        film = cell if number % LARGE == 0 else ""
        table.append({"id": f"clip{number:05d}", "video": cell, "film": film, "label": str(number % 3)})
    write_table(folder / "manifest.csv", table)
    return folder / "manifest.csv", kinds


def picture(number: int, size: tuple[int, int] = (32, 48), count: int = 10) -> np.ndarray:
    """Frames whose upper left is white and whose lower right is black; something moves between."""
    pixels = np.full((count, *size, 3), 100 + number, np.uint8)
    pixels[:, : size[0] // 4, : size[1] // 4] = 255
    pixels[:, -size[0] // 4 :, -size[1] // 4 :] = 0
    for time_ in range(count):
        pixels[time_, size[0] // 2, time_ * 2 : time_ * 2 + 8] = 200
    return pixels


def noise(number: int) -> np.ndarray:
    """A second of sound."""
    return np.random.default_rng(number).uniform(-0.5, 0.5, 16000).astype(np.float32)


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """The bytes as a file with these permissions."""
    path.write_bytes(content)
    path.chmod(mode)


def spoilt(film: bytes) -> bytes:
    """One packet in the middle is other bytes."""
    begin = film.index(b"mdat") + 4
    middle = begin + (film.index(b"moov") - begin) // 2
    return film[:middle] + bytes(255 - byte for byte in film[middle : middle + 40]) + film[middle + 40 :]


def write_turned(path: Path) -> None:
    """A film that is stored a quarter turn anticlockwise and says so, as phones do."""
    write_clip(path, np.ascontiguousarray(np.rot90(picture(0), 1, axes=(1, 2))), fps=10, sound=noise(0))
    film = path.read_bytes()
    matrix = film.index(b"tkhd") + 4 + 40  # version 0: nine 32-bit numbers after 40 bytes, ISO 14496-12, 8.3.2
    turned = [0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30]
    packed = b"".join(number.to_bytes(4, "big", signed=True) for number in turned)
    path.write_bytes(film[:matrix] + packed + film[matrix + 36 :])


def write_stamped(path: Path, stamps: list[int], *, size: tuple[int, int] = (32, 48)) -> None:
    """Frames shown at stamps / 10 s, of any size, with sound; without stamps, streams without a frame."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv444p"
        voice: Any = container.add_stream("aac", rate=16000, layout="mono")
        container.start_encoding()
        for stamp, pixels in zip(stamps, picture(0, size, max(1, len(stamps))), strict=False):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if stamps:
            piece = av.AudioFrame.from_ndarray(noise(0)[None], format="fltp", layout="mono")
            piece.sample_rate, piece.pts = 16000, 0
            container.mux(voice.encode(piece))
        container.mux(voice.encode(None))


if __name__ == "__main__":
    main()
