"""Whatever is wrong with a file is said in words: what, which file, what to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_cases import cut_short, paint, remux, sine, write_wav

from sparsefuse.files.skipped import Unusable
from sparsefuse.media import read_frames, read_sound, write_clip
from sparsefuse.media.probe import probe

READERS = pytest.mark.parametrize("read", [read_frames, read_sound])


@READERS
def test_a_missing_file_is_named(tmp_path: Path, read: Any) -> None:
    with pytest.raises(Unusable, match=r"gone\.mp4: missing"):
        read(tmp_path / "gone.mp4")
    with pytest.raises(Unusable, match=r"there is no folder .*nowhere"):
        read(tmp_path / "nowhere" / "gone.mp4")


@READERS
def test_an_empty_file_is_named(tmp_path: Path, read: Any) -> None:
    (tmp_path / "e.mp4").touch()
    with pytest.raises(Unusable, match=r"e\.mp4: is empty \(0 bytes\)"):
        read(tmp_path / "e.mp4")


@READERS
def test_a_folder_is_no_media_file(tmp_path: Path, read: Any) -> None:
    with pytest.raises(Unusable, match="is a folder"):
        read(tmp_path)


@READERS
@pytest.mark.parametrize("name", ["text.mp4", "text.txt", "text.wav"])
def test_text_is_no_media_file_whatever_its_name(tmp_path: Path, read: Any, name: str) -> None:
    (tmp_path / name).write_text("hello world\n" * 200)
    with pytest.raises(Unusable, match="expected a media file"):
        read(tmp_path / name)


@READERS
def test_an_mp4_without_its_index_was_cut_short(clip: Path, tmp_path: Path, read: Any) -> None:
    whole = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(Unusable, match=r"cut\.mp4: is an mp4 that was cut short"):
        read(tmp_path / "cut.mp4")


@READERS
@pytest.mark.parametrize(("suffix", "options"), [(".mp4", {"movflags": "faststart"}), (".mkv", {})])
def test_a_file_that_ends_in_the_middle_was_cut_short(
    clip: Path, tmp_path: Path, read: Any, suffix: str, options: dict[str, str]
) -> None:
    whole = remux(clip, tmp_path / f"whole{suffix}", **options)
    read(whole)
    with pytest.raises(Unusable, match=rf"cut\{suffix}: .*(cut short|cannot be decoded)"):
        read(cut_short(whole))


@pytest.mark.parametrize("read", [read_sound, probe])
def test_a_wave_file_that_ends_in_the_middle_was_cut_short(tmp_path: Path, read: Any) -> None:
    write_wav(tmp_path / "w.wav", sine(440, 1)[:, None], 16000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "w.wav").read_bytes()[:20000])
    with pytest.raises(Unusable, match=r"cut\.wav: was cut short: it has 20000 bytes, its header says 32044"):
        read(tmp_path / "cut.wav")


def test_a_stream_shorter_than_the_other_is_whole(tmp_path: Path) -> None:
    write_clip(tmp_path / "v.mp4", paint(range(10)), fps=10, sound=sine(440, 3))
    for name in ("v.mp4", "v.mkv"):
        remux(tmp_path / "v.mp4", tmp_path / "v.mkv")
        assert len(read_frames(tmp_path / name).pixels) == 10
        assert len(read_sound(tmp_path / name)) >= 48000


def test_a_name_with_a_colon_is_a_file(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "http:x.mp4").write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(read_frames("http:x.mp4").pixels) == 75


def test_a_list_that_names_another_film_is_no_film(tmp_path: Path) -> None:
    """FFmpeg would open what it names, and give that film's frames as this one's."""
    write_clip(tmp_path / "secret.mp4", np.full((3, 16, 16, 3), 200, np.uint8), fps=10)
    (tmp_path / "clip.mp4").write_text("ffconcat version 1.0\nfile 'secret.mp4'\n")
    with pytest.raises(Unusable, match=r"clip\.mp4: cannot be decoded"):
        read_frames(tmp_path / "clip.mp4")
