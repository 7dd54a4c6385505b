"""What is extracted of a manifest when nobody says."""

from dataclasses import replace
from pathlib import Path

import pytest

from command import call
from sparsefuse.features import PLACE, extractor
from sparsefuse.features._default import default_features
from sparsefuse.features._packaged import PACKAGED
from sparsefuse.features.extract import extract
from sparsefuse.files.rows import read_table

FRAMES = {"extractor": "frames", "rate": 10}
SOUND = {"extractor": "spectrogram"}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["id,video", "a,x.mp4"], {"video": {**FRAMES, "source": "video"}, "audio": {**SOUND, "source": "video"}}),
        (["id,a b", "a,x.mkv"], {"a_b": {**FRAMES, "source": "a b"}, "audio": {**SOUND, "source": "a b"}}),
        (
            ["id,film,voice", "a,x.mp4,x.wav"],
            {"film": {**FRAMES, "source": "film"}, "voice": {**SOUND, "source": "voice"}},
        ),
        (["id,video,audio", "a,x.mp4,x.npy"], {"video": {**FRAMES, "source": "video"}}),
        (["id,image,words", "a,x.png,x.srt"], {
            "image": {**FRAMES, "source": "image"}, "words": {"extractor": "text", "source": "words"},
        }),
        (["id,声音,视频", "a,x.wav,x.mp4"], {"_": {**SOUND, "source": "声音"}, "__2": {**FRAMES, "source": "视频"}}),
        (["id,cam 1,cam_1,cam?1,sound", "a,x.mp4,y.mp4,z.mp4,x.npy"], {
            "cam_1_2": {**FRAMES, "source": "cam 1"}, "cam_1": {**FRAMES, "source": "cam_1"},
            "cam_1_3": {**FRAMES, "source": "cam?1"}, "audio": {**SOUND, "source": "cam?1"},
        }),
        (["id,my text,my_text", "a,good day,x.npy"], {"my_text_2": {"extractor": "text", "source": "my text"}}),
        (["id,video,rgb", "a,x.npy,y.npy"], {}),
        (["id,imu", "a,x.csv"], {}),
    ],
)  # fmt: skip
def test_the_kind_of_file_decides(tmp_path: Path, lines: list[str], expected: dict[str, object]) -> None:
    (tmp_path / "m.csv").write_text("\n".join(lines), encoding="utf-8")
    assert default_features(read_table(tmp_path / "m.csv"), tmp_path) == expected


@pytest.mark.parametrize(
    ("header", "columns"),
    [("x,y", None), ("timestamp,x,y", ["x", "y"]), ("x,Time (ms)", ["x"]), ("x,runtime,ts", ["x", "runtime"])],
)
def test_a_column_called_time_is_no_reading(tmp_path: Path, header: str, columns: list[str] | None) -> None:
    row = ",".join("1" for _ in header.split(","))
    (tmp_path / "a.csv").write_text(f"{header}\n{row}\n{row}\n")
    (tmp_path / "m.csv").write_text("id,imu\n0,gone.csv\na,a.csv\n")
    chosen = default_features(read_table(tmp_path / "m.csv"), tmp_path, tables=True)
    expected = {"extractor": "series", "source": "imu"} | ({"columns": columns} if columns else {})
    assert chosen == {"imu": expected}


@pytest.mark.parametrize(
    ("name", "first", "step", "unit"),
    [
        ("time", 0, 0.02, 1.0),  # seconds
        ("timestamp", 1_770_000_000_000, 20, 1e-3),  # since 1970
        ("timestamp", 1_770_000_000_000_000_000, 20_000_000, 1e-9),
        ("time", 0, 20, None),  # milliseconds, or a slow sensor's seconds
        ("time", 0, 0.2, None),  # too slow for windows
    ],
)
def test_fast_readings_come_in_windows_if_their_rate_is_certain(
    tmp_path: Path, name: str, first: int, step: float, unit: float | None
) -> None:
    rows = [f"{first + i * step},{i % 7},{i % 5}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join([f"{name},x,y", *rows]))
    (tmp_path / "m.csv").write_text("id,imu\na,a.csv\n")
    spec = default_features(read_table(tmp_path / "m.csv"), tmp_path, tables=True)["imu"]
    contents = ["statistics", "energy"]
    windows = (
        {"time": name, "unit": unit, "window": 0.6, "hop": 0.3, "contents": contents, "long_gap": "skip"}
        if unit
        else {}
    )
    assert spec == {"extractor": "series", "source": "imu", "columns": ["x", "y"], **windows}
    made = extractor("series")(tmp_path / "a.csv", **{k: v for k, v in spec.items() if k not in PLACE})
    assert made.shape == ((3, 12) if unit else (60, 2))  # 1.2 s: from 0, 0.3 and 0.6


def test_text_is_extracted_without_options(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("it rains a lot")
    (tmp_path / "m.csv").write_text("id,words,label\na,a.txt,rain\n")
    manifest = extract(tmp_path / "m.csv", tmp_path / "out", jobs=1, progress=False).manifest
    assert read_table(manifest).columns == ["id", "words", "label"]


def pretend(monkeypatch: pytest.MonkeyPatch, *installed: str) -> None:
    """Packages of these models are there: a file of numpy's; the others are not."""
    for name, package in PACKAGED.items():
        there = replace(package, distribution="numpy", file="numpy/__init__.py")
        gone = replace(package, distribution="sparsefuse-no-such-thing")
        monkeypatch.setitem(PACKAGED, name, there if name in installed else gone)


def test_auto_takes_the_encoders_that_are_installed_and_says_what_others_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, "efficientnet-lite0", "all-minilm-l6-v2")
    (tmp_path / "m.csv").write_text("id,film,said,imu\na,x.mp4,it rains,x.csv\n")
    table = read_table(tmp_path / "m.csv")
    with caplog.at_level("INFO"):
        chosen = default_features(table, tmp_path, "auto", tables=True)
    sound = {**SOUND, "source": "film"}
    encoded = {"extractor": "encoder", "source": "film", "model": "efficientnet-lite0"}
    words = {"extractor": "text", "source": "said", "model": "all-minilm-l6-v2"}
    readings = {"extractor": "series", "source": "imu"}
    assert chosen == {"film": encoded, "said": words, "imu": readings, "audio": sound}
    assert "film: features of the pretrained encoder efficientnet-lite0, which is installed" in caplog.text
    assert "audio: spectrogram; a pretrained encoder, aisfx, is used once it is installed: pip install" in caplog.text
    assert default_features(table, tmp_path, "raw", tables=True)["film"]["extractor"] == "frames"
    both = default_features(table, tmp_path, "raw,auto", tables=True)
    assert list(both) == ["film", "said", "imu", "audio", "film_encoder", "said_encoder"]
    assert both["film_encoder"] == encoded


def test_an_encoder_is_called_as_no_column_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "efficientnet-lite0")
    (tmp_path / "m.csv").write_text("id,film,film_encoder,sound\na,x.mp4,y.mp4,x.npy\n")
    both = default_features(read_table(tmp_path / "m.csv"), tmp_path, "raw,auto")
    assert {name: (spec["extractor"], spec["source"]) for name, spec in both.items()} == {
        "film": ("frames", "film"),
        "film_encoder": ("frames", "film_encoder"),
        "audio": ("spectrogram", "film_encoder"),
        "film_encoder_2": ("encoder", "film"),
        "film_encoder_encoder": ("encoder", "film_encoder"),
    }


def test_both_need_an_encoder_and_only_three_names_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    (tmp_path / "m.csv").write_text("id,film\na,x.mp4\n")
    table = read_table(tmp_path / "m.csv")
    assert default_features(table, tmp_path, "auto") == default_features(table, tmp_path, "raw")
    with pytest.raises(ImportError, match="no encoder for film, audio is installed; there are: pip install"):
        default_features(table, tmp_path, "raw,auto")
    with pytest.raises(ValueError, match="unknown features 'autp'; did you mean 'auto'"):
        extract(tmp_path / "m.csv", tmp_path / "out", features="autp")


@pytest.mark.slow
def test_the_command_line_and_a_yaml_say_auto_and_a_flag_replaces_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "all-minilm-l6-v2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.csv").write_text("id,said,label\na,it rains,x\n")
    (tmp_path / "c.yaml").write_text("features: auto\n")
    asked = []
    monkeypatch.setattr("sparsefuse.features.extract.extract", lambda *_, features, **__: asked.append(features))
    for flags in (["--features", "raw,auto"], ["--config", "c.yaml"], ["--features.a.extractor", "text"]):
        assert call(monkeypatch, "extract", "m.csv", "--out", "out", *flags) == 0
    assert call(monkeypatch, "extract", "m.csv", "--out", "o", "--config", "c.yaml", "--features.a.rate", "2") == 0
    assert asked == ["raw,auto", "auto", {"a": {"extractor": "text"}}, {"a": {"rate": 2}}]
    assert call(monkeypatch, "extract", "m.csv", "--out", "out", "--features", "atuo") == 2
