"""From a manifest of media files to a manifest of features: what is made, reused, skipped, carried over."""

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsefuse.data.arrays import load
from sparsefuse.features import _clip, extractor
from sparsefuse.features.extract import extract
from sparsefuse.files.references import split_ref
from sparsefuse.files.skipped import Skip, Unusable
from sparsefuse.media import write_clip

S = "00000.safetensors"
PICTURE = {"extractor": "frames", "source": "video", "rate": 5, "size": [2, 4]}
SOUND = {"extractor": "spectrogram", "source": "video", "bins": 16}


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one good clip of 1 s, and of every kind of bad one."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    pixels = np.repeat(rng.integers(0, 255, (10, 1, 1, 3), dtype=np.uint8), 32, axis=1).repeat(32, axis=2)
    noise = rng.uniform(-0.5, 0.5, 16000).astype(np.float32)
    write_clip(folder / "good.mp4", pixels, fps=10, sound=noise)
    write_clip(folder / "mute.mp4", pixels, fps=10)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a film " * 99)
    whole = (folder / "good.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return folder


def write_manifest(path: Path, columns: str, *rows: str) -> Path:
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(manifest: Path, out: Path, features: dict[str, Any] | None = None, **options: Any) -> Any:
    return extract(manifest, out, features=features, **({"jobs": 1, "progress": False} | options))


def files(folder: Path) -> dict[str, bytes]:
    """All that a run wrote except its journals, which hold times."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".jsonl"
    }


def test_a_clip_becomes_what_the_extractors_give(clips: Path, tmp_path: Path) -> None:
    manifest = write_manifest(clips / "one.csv", "id,video,label,split,mood", "a,good.mp4,x,train,calm")
    summary = run(manifest, tmp_path / "out", {"picture": PICTURE, "sound": SOUND})
    assert summary == (tmp_path / "out" / "manifest.csv", 2, 0, [])
    assert read(summary.manifest) == [
        {
            "id": "a",
            "picture": f"picture/{S}#a",
            "sound": f"sound/{S}#a",
            "label": "x",
            "split": "train",
            "mood": "calm",
        }
    ]
    picture, sound = (load(f"{name}/{S}#a", tmp_path / "out") for name in ("picture", "sound"))
    assert (picture.shape, picture.dtype, sound.dtype) == ((5, 8), np.float32, np.float32)
    np.testing.assert_array_equal(picture, extractor("frames")(clips / "good.mp4", rate=5, size=(2, 4)))
    np.testing.assert_array_equal(sound, extractor("spectrogram")(clips / "good.mp4", bins=16))
    record = json.loads((tmp_path / "out/features.json").read_text())
    assert record["features"]["sound"] == SOUND | {
        "rate": 16000,
        "window": 0.025,
        "hop": 0.01,
        "context": 0,
        "every": 1,
        "audio": "default",
        "difference": False,
        "energy": False,
        "channels": "mean",
    }
    assert set(record["versions"]) >= {"sparsefuse", "numpy", "torch", "av"}
    assert (tmp_path / "out/skipped.jsonl").read_text() == ""


def test_media_that_no_feature_is_made_from_is_named(clips: Path, tmp_path: Path, caplog) -> None:
    (clips / "a.txt").write_text("hello")
    manifest = write_manifest(clips / "text.csv", "id,video,text,cover,label", "a,good.mp4,a.txt,a.png,x")
    summary = run(manifest, tmp_path / "out", {"picture": PICTURE})
    assert list(read(summary.manifest)[0]) == ["id", "picture", "label"]
    assert [message.split(" holds")[0] for message in caplog.messages] == ["column 'cover'", "column 'text'"]
    caplog.clear()
    run(write_manifest(clips / "one.csv", "id,video,label", "a,good.mp4,x"), tmp_path / "out2", {"picture": PICTURE})
    assert not caplog.messages


def test_without_features_video_and_audio_columns_decide(clips: Path, tmp_path: Path) -> None:
    manifest = write_manifest(clips / "d.csv", "id,video,label", "a,good.mp4,x")
    run(manifest, tmp_path / "v")
    assert read(tmp_path / "v/manifest.csv")[0] == {
        "id": "a", "video": f"video/{S}#a", "audio": f"audio/{S}#a", "label": "x",
    }  # fmt: skip
    assert load(f"video/{S}#a", tmp_path / "v").shape == (10, 1024)
    run(write_manifest(clips / "d.csv", "id,audio,label", "a,good.mp4,x"), tmp_path / "a")
    assert list(read(tmp_path / "a/manifest.csv")[0]) == ["id", "audio", "label"]
    run(write_manifest(clips / "d.csv", "id,video,audio,label", "a,mute.mp4,good.mp4,x"), tmp_path / "va")
    assert json.loads((tmp_path / "va/features.json").read_text())["features"]["audio"]["source"] == "audio"


def test_every_bad_clip_is_named_and_the_rest_goes_on(clips: Path, tmp_path: Path) -> None:
    bad = ["empty", "text", "cut", "gone"]
    rows = ["good,good.mp4,x", "mute,mute.mp4,x", *(f"{name},{name}.mp4,y" for name in bad), "none,,y"]
    manifest = write_manifest(clips / "bad.csv", "id,video,label", *rows)
    summary = run(manifest, tmp_path / "out", {"picture": PICTURE, "sound": SOUND}, jobs=2)
    assert [(row["id"], row["picture"], row["sound"]) for row in read(summary.manifest)] == [
        ("good", f"picture/{S}#good", f"sound/{S}#good"),
        ("mute", f"picture/{S}#mute", ""),
    ]
    reasons = {(skip.id, skip.modality): skip.reason for skip in summary.skipped}
    assert list(reasons) == [("mute", "sound"), *((name, "") for name in bad), ("none", "")]
    for skip, words in {
        ("mute", "sound"): "mute.mp4: has no sound",
        ("empty", ""): "empty.mp4: is empty",
        ("text", ""): "text.mp4: cannot be decoded (Invalid data found when processing input); expected a media file",
        ("cut", ""): "cut.mp4: is an mp4 that was cut short",
        ("gone", ""): "gone.mp4: missing",
        ("none", ""): "names no media file",
    }.items():
        assert words in reasons[skip]
    lines = [json.loads(line) for line in (tmp_path / "out/skipped.jsonl").read_text().splitlines()]
    assert [Skip(**line) for line in lines] == summary.skipped
    assert summary.done == 3


def test_strict_stops_at_the_first_bad_clip(clips: Path, tmp_path: Path) -> None:
    manifest = write_manifest(clips / "strict.csv", "id,video", "a,empty.mp4", "b,good.mp4")
    with pytest.raises(Unusable, match=r"sample a, picture: .*empty\.mp4: is empty"):
        run(manifest, tmp_path / "out", {"picture": PICTURE}, strict=True)


def test_nothing_usable_is_an_error_that_names_the_first_reason(clips: Path, tmp_path: Path) -> None:
    manifest = write_manifest(clips / "nothing.csv", "id,video", "a,empty.mp4")
    with pytest.raises(Unusable, match=r"none of 1 samples could be used.*empty\.mp4"):
        run(manifest, tmp_path / "out", {"picture": PICTURE})
    assert '"a"' in (tmp_path / "out/skipped.jsonl").read_text()


def test_features_that_are_there_are_carried_over(clips: Path, tmp_path: Path) -> None:
    rows = ["a,good.mp4,imu/a.mat#acc,good.mp4", "b,empty.mp4,imu/b.npy,good.mp4", "c,empty.mp4,,good.mp4"]
    manifest = write_manifest(clips / "imu.csv", "id,video,imu,group", *rows)
    summary = run(manifest, clips / "deep" / "out", {"picture": PICTURE})
    assert read(summary.manifest) == [
        {"id": "a", "picture": f"picture/{S}#a", "imu": "../../imu/a.mat#acc", "group": "good.mp4"},
        {"id": "b", "picture": "", "imu": "../../imu/b.npy", "group": "good.mp4"},
    ]
    assert [(skip.id, skip.modality) for skip in summary.skipped] == [("b", "picture"), ("c", "")]


def test_jsonl_is_read_and_its_lists_become_cells(clips: Path, tmp_path: Path) -> None:
    lines = [{"id": 7, "video": "good.mp4", "label": ["x", "y"], "score": 0.5, "note": None}]
    (clips / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    summary = run(clips / "m.jsonl", tmp_path / "out", {"picture": PICTURE})
    assert read(summary.manifest) == [
        {"id": "7", "picture": f"picture/{S}#7", "label": "x|y", "score": "0.5", "note": ""}
    ]


def test_hostile_ids_stay_in_the_folder_and_do_not_collide(clips: Path, tmp_path: Path) -> None:
    ids = ["../../up", "/abs", "a/b", "a_b", "a\\b", ".", "..", "A_B", "-x", "ü", "é", "x" * 300, "con\n", "good.mp4"]
    (clips / "h.jsonl").write_text("\n".join(json.dumps({"id": i, "video": "good.mp4"}) for i in ids))
    summary = run(clips / "h.jsonl", tmp_path / "out", {"picture": PICTURE})
    rows = read(summary.manifest)
    assert [row["id"] for row in rows] == [name.strip() for name in ids]
    paths = [row["picture"] for row in rows]
    assert len({path.casefold() for path in paths}) == len(ids)
    for path in paths:
        assert split_ref(path)[0] == f"picture/{S}"
        assert load(path, tmp_path / "out").shape == (5, 8)
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_a_second_run_reuses_and_a_changed_option_or_source_does_not(clips: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.mp4"
    own.write_bytes((clips / "good.mp4").read_bytes())
    manifest = write_manifest(tmp_path / "m.csv", "id,video", "a,own.mp4", f"b,{clips / 'good.mp4'}")

    def counts(**changed: Any) -> tuple[int, int]:
        return run(manifest, tmp_path / "out", {"picture": PICTURE | changed})[1:3]

    assert counts() == (2, 0)
    first = files(tmp_path / "out")
    assert counts() == (0, 2)
    assert files(tmp_path / "out") == first
    assert counts(rate=10) == (2, 0)
    assert load(f"picture/{S}#a", tmp_path / "out").shape == (10, 8)
    assert counts() == (2, 0)  # the files are the other option's by now
    os.utime(own, ns=(1, 1))
    assert counts() == (1, 1)
    (tmp_path / "out/picture" / S).write_bytes(b"torn")
    assert counts() == (2, 0)
    assert files(tmp_path / "out") == first


STUCK = """
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sparsefuse.features import extractor
SOURCE = "video"
def extract(path, *, out: str):
    while len(list(Path(out).glob(".parts/c*.safetensors"))) >= 5 and not path.with_name("go").exists():
        time.sleep(0.01)
    return extractor("frames")(path, size=(64, 64))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_the_same(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    manifest = write_manifest(clips / "kill.csv", "id,video", *(f"c{i},good.mp4" for i in range(40)))
    features = {"picture": {"extractor": str(tmp_path / "stuck.py"), "out": str(tmp_path / "out/picture")}}
    code = f"from sparsefuse.features.extract import extract; extract({str(manifest)!r}, {str(tmp_path / 'out')!r}, "
    process = subprocess.Popen([sys.executable, "-c", f"{code}features={features!r}, jobs=1, progress=False)"])
    while len(list(tmp_path.glob("out/picture/.parts/c*.safetensors"))) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    (clips / "go").touch()
    (tmp_path / "out/picture/.parts/.c9.123.safetensors").write_bytes(b"half")  # what a kill within a write leaves
    with (tmp_path / "out/picture/.made.jsonl").open("a") as journal:
        journal.write('\n{"shard": 0, "sta')  # and within a line
    resumed = run(manifest, tmp_path / "out", features)
    assert resumed.reused == 5
    assert resumed.done + resumed.reused == 40
    run(manifest, tmp_path / "whole", features)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


CRASH = """
import os
import numpy as np
SOURCE = "video"
def extract(path, *, scale: float = 1.0):
    if path.name == "empty.mp4":
        os._exit(1)
    return np.full((1, 1), scale, np.float32)
"""


def test_a_crash_of_the_decoder_costs_one_clip(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "crash.py").write_text(CRASH)
    manifest = write_manifest(clips / "crash.csv", "id,video", "a,good.mp4", "b,empty.mp4", "c,mute.mp4")
    summary = run(manifest, tmp_path / "out", {"picture": {"extractor": str(tmp_path / "crash.py")}}, jobs=2)
    assert [row["id"] for row in read(summary.manifest)] == ["a", "c"]
    assert [(skip.id, skip.reason.endswith("the decoder crashed")) for skip in summary.skipped] == [("b", True)]


def test_a_full_disk_stops_with_whole_files_only(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_manifest(clips / "full.csv", "id,video", *(f"c{i},good.mp4" for i in range(5)))
    replacing, left = _clip.replacing, [2]

    @contextmanager
    def fill(path: Path, **options: bool) -> Iterator[Path]:
        with replacing(path, **options) as temporary:
            left[0] -= 1
            if left[0] < 0:
                temporary.write_bytes(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")
            yield temporary

    monkeypatch.setattr(_clip, "replacing", fill)
    with pytest.raises(OSError, match="the disk is full; free some space and run the same command again") as caught:
        run(manifest, tmp_path / "out", {"picture": PICTURE})
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert len(list((tmp_path / "out/picture/.parts").iterdir())) == 2
    assert not (tmp_path / "out/manifest.csv").exists()
    assert run(manifest, tmp_path / "out", {"picture": PICTURE})[1:3] == (3, 2)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("np.full((2, 2), np.nan, np.float32)", "4 of 4 features are NaN or infinite"),
        ("np.zeros((0, 2), np.float32)", "gives no features: (0, 2)"),
    ],
)
def test_features_that_are_not_usable_are_skipped(clips: Path, tmp_path: Path, code: str, words: str) -> None:
    (tmp_path / "odd.py").write_text(f"import numpy as np\nSOURCE = 'video'\ndef extract(path): return {code}\n")
    manifest = write_manifest(clips / "odd.csv", "id,video", "a,good.mp4")
    with pytest.raises(Unusable) as caught:
        run(manifest, tmp_path / "out", {"odd": {"extractor": str(tmp_path / "odd.py")}})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "features", "message"),
    [
        (["id,video", "a,x.mp4", "b,y.mp4", "a,z.mp4"], None, "id 'a' is on lines 2 and 4; ids are unique"),
        (["id,video", ",x.mp4"], None, "line 2: the id is empty"),
        (["id,video"], None, "no rows"),
        (["id,video", "a,x.mp4,extra"], None, "line 2: 3 cells, the header has 2"),
        (["id,video,video", "a,x.mp4,y"], None, "column 'video' appears twice"),
        (["id,video", "a,x.npy"], None, "nothing to extract"),
        (["id,wrist", "a,x.csv"], None, "readings: --features.imu.extractor series --features.imu.source wrist; else"),
        (["id,film", "a,x.mp4"], {"p": {"extractor": "frames", "source": "flim"}}, "'flim'; did you mean 'film'"),
        (["id,video", "a,x.mp4"], {"p": {"extractor": "fames"}}, "did you mean 'frames'"),
        (["id,video", "a,x.mp4"], {"p": {"extractor": "frames", "rat": 3}}, "did you mean 'rate'"),
        (["id,video", "a,x.mp4"], {"p": {"rate": 3}}, "names no extractor; got rate"),
        (["id,video", "a,x.mp4"], {"../p": {"extractor": "frames"}}, "it names a folder"),
        (["id,video,label", "a,x.mp4,b"], {"label": {"extractor": "frames"}}, "has a column 'label' already"),
        (["id,video", "a,x.npy"], {"p": {"extractor": "frames"}}, "holds features already"),
    ],
)
def test_a_wrong_manifest_or_option_stops_before_any_work(
    tmp_path: Path, rows: list[str], features: dict[str, Any] | None, message: str
) -> None:
    manifest = write_manifest(tmp_path / "m.csv", *rows)
    with pytest.raises(ValueError) as caught:
        run(manifest, tmp_path / "out", features)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_old_manifest_is_never_replaced(clips: Path, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "manifest.csv", "id,video", f"a,{clips / 'good.mp4'}")
    with pytest.raises(ValueError, match="would replace"):
        run(manifest, tmp_path, {"picture": PICTURE})


def test_a_usual_modality_that_no_sample_has_is_left_out(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_manifest(clips / "mute.csv", "id,video", "a,mute.mp4")
    summary = run(manifest, tmp_path / "out", None)
    assert list(read(summary.manifest)[0]) == ["id", "video"]
    assert "no sample has 'audio'" in caplog.text
    assert len(summary.skipped) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,mute.mp4,mute.mp4", r"'sound' could be made of none of 1 samples, see .*skipped\.jsonl; .*mute\.mp4"),
        ("a,mute.mp4,", "'sound' could be made of none of 1 samples, no row has a file in column 'talk'"),
    ],
)
def test_a_modality_that_was_asked_for_is_an_error_if_no_sample_has_it(
    clips: Path, tmp_path: Path, row: str, message: str
) -> None:
    manifest = write_manifest(clips / "mute.csv", "id,video,talk", row)
    with pytest.raises(Unusable, match=message):
        run(manifest, tmp_path / "out", {"picture": PICTURE, "sound": SOUND | {"source": "talk"}})
    assert not (tmp_path / "out/manifest.csv").exists()


def test_the_bar_counts_on_standard_error(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_manifest(clips / "bar.csv", "id,video", "a,good.mp4", "b,empty.mp4")
    run(manifest, tmp_path / "out", {"picture": PICTURE}, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "2/2" in shown.err
    assert "1 skipped" in shown.err


def test_one_process_alone_needs_no_torch_and_leaves_its_threads(clips: Path, tmp_path: Path) -> None:
    manifest = write_manifest(clips / "light.csv", "id,video", "a,good.mp4")
    features = {"picture": PICTURE, "sound": SOUND}
    code = (
        "import os, sys\nfrom sparsefuse.features.extract import extract\n"
        f"extract({str(manifest)!r}, {str(tmp_path / 'out')!r}, features={features!r}, jobs=1, progress=False)\n"
        "print('torch' in sys.modules, os.environ.get('OMP_NUM_THREADS'), 'MKL_NUM_THREADS' in os.environ)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}
    environment.pop("MKL_NUM_THREADS", None)
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "3", "False"]


def test_torch_gets_one_thread_while_one_process_works_alone(clips: Path, tmp_path: Path) -> None:
    import torch

    (tmp_path / "count.py").write_text(
        "import numpy as np\nSOURCE = 'video'\n\ndef extract(path):\n    import torch\n"
        "    return np.full((1, 1), torch.get_num_threads(), np.float32)\n"
    )
    manifest = write_manifest(clips / "threads.csv", "id,video", "a,good.mp4")
    torch.set_num_threads(2)
    made = run(manifest, tmp_path / "out", {"count": {"extractor": str(tmp_path / "count.py")}})
    assert load(read(made.manifest)[0]["count"], made.manifest.parent).tolist() == [[1]]
    assert torch.get_num_threads() == 2


def test_offline_nothing_is_fetched_and_no_file_outside_is_read(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a relative path, an absolute one or a link. Another folder may be allowed."""

    def fetch() -> None:
        raise AssertionError("a URL was asked for")

    monkeypatch.setattr("sparsefuse.media.fetch._fsspec", fetch)
    (tmp_path / "in").mkdir()
    (tmp_path / "else").mkdir()
    for place in ("in/a.mp4", "out.mp4", "else/b.mp4"):
        shutil.copy(clips / "good.mp4", tmp_path / place)
    (tmp_path / "in/link.mp4").symlink_to(tmp_path / "out.mp4")
    cells = {
        "in": "a.mp4",
        "up": "../out.mp4",
        "absolute": tmp_path / "out.mp4",
        "link": "link.mp4",
        "else": "../else/b.mp4",
        "web": "http://localhost:9/a.mp4",
    }
    manifest = write_manifest(tmp_path / "in/m.csv", "id,video", *(f"{name},{cell}" for name, cell in cells.items()))
    options = {"features": {"picture": PICTURE}, "jobs": 1, "progress": False}
    found = extract(manifest, tmp_path / "features", **options, roots=[tmp_path / "else"])  # type: ignore
    assert (found.done, {skip.id for skip in found.skipped}) == (2, {"up", "absolute", "link", "web"})
    for skip in found.skipped:
        said = "is a URL, which --offline does not fetch" if skip.id == "web" else "; --offline reads no other folder"
        assert said in skip.reason
