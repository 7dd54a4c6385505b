"""What is extracted of a manifest when nobody says."""

from pathlib import Path

import pytest

from sparsefuse.features._default import default_features
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
        (["id,video,rgb", "a,x.npy,y.npy"], {}),
        (["id,imu", "a,x.csv"], {}),
    ],
)  # fmt: skip
def test_the_kind_of_file_decides(tmp_path: Path, lines: list[str], expected: dict[str, object]) -> None:
    (tmp_path / "m.csv").write_text("\n".join(lines))
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


def test_text_is_extracted_without_options(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("it rains a lot")
    (tmp_path / "m.csv").write_text("id,words,label\na,a.txt,rain\n")
    manifest = extract(tmp_path / "m.csv", tmp_path / "out", jobs=1, progress=False).manifest
    assert read_table(manifest).columns == ["id", "words", "label"]
