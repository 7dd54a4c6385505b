"""Windows of readings: what a token holds, by hand and by other libraries."""

from pathlib import Path

import numpy as np
import pytest
from scipy import signal

from sparsefuse.features import build, extractor
from sparsefuse.files.skipped import Unusable

series = extractor("series")
RATE = 50


def table(path: Path, x: np.ndarray, rate: float = RATE, times: np.ndarray | None = None) -> Path:
    times = np.arange(len(x)) / rate if times is None else times
    header = ",".join(["t", *(f"c{i}" for i in range(x.shape[1]))])
    np.savetxt(path, np.column_stack([times, x]), delimiter=",", header=header, comments="")
    return path


@pytest.fixture
def walk(tmp_path: Path) -> tuple[Path, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(100, 3))
    return table(tmp_path / "walk.csv", x), x


def test_windows_join_the_readings_of_their_seconds(walk) -> None:
    file, x = walk
    made = series(file, time="t", rate=RATE, window=0.6, hop=0.3, contents=["values"])
    assert made.shape == (5, 90)  # from 0, 15, 30, 45 and 60; one from 75 would end at 105
    np.testing.assert_allclose(made, [x[i : i + 30].ravel() for i in range(0, 75, 15)], rtol=1e-5)


def test_statistics_are_those_of_each_column(walk) -> None:
    file, x = walk
    made = series(file, time="t", window=0.4)
    assert made.shape == (9, 15)  # windows of 20, and as nobody says, one every 10
    for token, start in zip(made, range(0, 90, 10), strict=True):
        w = x[start : start + 20]
        change = w[10:].mean(0) - w[:10].mean(0)
        np.testing.assert_allclose(token, [*w.mean(0), *w.std(0), *w.min(0), *w.max(0), *change], atol=1e-5)


def test_a_spectrum_holds_the_amplitude_of_a_tone_at_its_frequency(tmp_path: Path) -> None:
    tone = 3 * np.sin(2 * np.pi * 10 * np.arange(100) / RATE) + 7
    file = table(tmp_path / "a.csv", tone[:, None])
    made = series(file, time="t", rate=RATE, window=1, contents=["spectrum"])
    assert made.shape == (3, 25)  # 1 to 25 Hz
    np.testing.assert_allclose(made[:, 9], 3, rtol=0.02)  # the mean leaks in half a bin's width
    assert made.argmax(1).tolist() == [9] * 3


def test_energy_is_the_log_of_what_varies(walk) -> None:
    made = series(walk[0], time="t", window=0.4, contents=["energy", "statistics"])
    np.testing.assert_allclose(made[:, :3], 2 * np.log(made[:, 6:9]), rtol=1e-4)  # of the deviation


def test_norms_do_not_see_how_a_sensor_is_mounted(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(20, 6))
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turned = np.concatenate([x[:, :3] @ turn, x[:, 3:] @ turn], axis=1)
    made = series(table(tmp_path / "a.csv", x), time="t", norm="only")
    np.testing.assert_allclose(made, [[np.hypot(np.hypot(a, b), c) for a, b, c in r.reshape(2, 3)] for r in x], 1e-5)
    np.testing.assert_allclose(series(table(tmp_path / "b.csv", turned), time="t", norm="only"), made, rtol=1e-4)
    both = series(tmp_path / "a.csv", time="t", norm="add")
    np.testing.assert_allclose(both, np.concatenate([x, made], axis=1), rtol=1e-5)


def test_norms_need_columns_by_three(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", np.zeros((4, 4)))
    with pytest.raises(Unusable, match=r"norm is of three columns each, got 4 \(c0, c1, c2, c3\)"):
        series(file, time="t", norm="add")


def test_a_difference_is_a_slope_by_the_files_own_times(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", np.array([[0.0], [1], [1], [4]]), times=np.array([0, 0.5, 0.75, 1]))
    np.testing.assert_allclose(series(file, time="t", difference=True), [[0, 0], [1, 2], [1, 0], [4, 12]])


def test_windows_of_uneven_rows_are_of_seconds_not_of_rows(tmp_path: Path) -> None:
    """Ten rows a second, then two; at 7 a second, the mean and a bit, a window of a ramp rises by 6 / 7."""
    times = np.concatenate([np.arange(40) / 10, np.arange(4, 8, 0.5)])
    made = series(table(tmp_path / "a.csv", times[:, None], times=times), time="t", window=1, hop=1)
    assert len(made) == 7  # of 7.5 s
    rise = made[:, 3] - made[:, 2]
    np.testing.assert_allclose(rise, 6 / 7, rtol=1e-5)


def test_tokens_are_in_the_middle_of_their_windows(walk) -> None:
    options = {"time": "t", "rate": RATE, "window": 0.6, "hop": 0.3}
    times = build("series", options).times(walk[0])
    np.testing.assert_allclose(times, [0.3, 0.6, 0.9, 1.2, 1.5])
    assert len(times) == len(series(walk[0], **options))


def test_a_part_has_the_windows_that_lie_in_it(walk) -> None:
    file, x = walk
    made = series(file, start=0.5, end=1.5, time="t", rate=RATE, window=0.6, hop=0.3, contents=["values"])
    np.testing.assert_allclose(made, [x[i : i + 30].ravel() for i in (25, 40)], rtol=1e-5)


def test_a_file_shorter_than_a_window_is_one_token(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", np.array([[1.0], [2], [3]]), rate=10)
    made = series(file, time="t", rate=10, window=0.5, contents=["values"])
    np.testing.assert_allclose(made, [[1, 2, 3, 3, 3]])


def test_a_filter_takes_out_what_a_lower_rate_cannot_hold(tmp_path: Path) -> None:
    """By scipy's design of the same filter, and by what it is for: 30 Hz read 50 times a second looks like 20 Hz."""
    t = np.arange(800) / 200
    slow, fast = np.sin(2 * np.pi * 5 * t), np.sin(2 * np.pi * 30 * t)
    file = table(tmp_path / "a.csv", np.stack([slow, fast, slow + fast], axis=1), rate=200)
    made = series(file, time="t", rate=50, antialias=True)
    plain = series(file, time="t", rate=50)
    weights = signal.firwin(129, 22.5, fs=200, window=("general_hamming", 0.54))
    expected = signal.convolve(np.pad(slow + fast, 64, mode="edge"), weights, mode="valid")[::4]
    np.testing.assert_allclose(made[:, 2], expected, atol=1e-5)
    assert np.abs(plain[:, 1]).max() > 0.9
    assert np.abs(made[20:-20, 1]).max() < 0.01
    np.testing.assert_allclose(made[20:-20, 0], plain[20:-20, 0], atol=0.01)
    np.testing.assert_array_equal(series(file, time="t", rate=200, antialias=True), series(file, time="t"))


def test_what_lies_in_a_long_gap_is_left_out(tmp_path: Path) -> None:
    """Ten rows a second, but for the seconds 2 to 5."""
    times = np.array([i / 10 for i in range(80) if not 20 < i < 50])
    file = table(tmp_path / "a.csv", times[:, None], times=times)
    options = {"time": "t", "rate": 10, "long_gap": "skip"}
    np.testing.assert_allclose(series(file, **options)[:, 0], times, atol=1e-5)
    windows = {**options, "window": 1, "hop": 0.5, "contents": ["values"]}
    starts = [0, 0.5, 1, 5, 5.5, 6, 6.5, 7]  # not 1.5, which reaches to 2.4
    np.testing.assert_allclose(series(file, **windows)[:, 0], starts, atol=1e-5)
    np.testing.assert_allclose(build("series", windows).times(file), np.add(starts, 0.5))
    slopes = series(file, **options, difference=True)
    np.testing.assert_allclose(slopes[1:, 1], 1, rtol=1e-4)  # no slope leads out of the gap
    assert len(slopes) == len(times) - 1


def test_a_file_of_gaps_alone_is_unusable(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", np.zeros((3, 1)), times=np.array([0.0, 5, 10]))
    with pytest.raises(Unusable, match="every token lies in a gap longer than max_gap, 1 s"):
        series(file, time="t", rate=10, window=1, long_gap="skip")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 0.3}, "hop is of windows: give `window`"),
        ({"contents": ["energy"]}, "contents is of windows: give `window`"),
        ({"window": 0.5, "hop": 0.6}, "hop is 0.6, window 0.5: readings between windows would be left out"),
        ({"window": 0.5, "contents": ["values"]}, "give `rate`"),
        ({"window": 0.5, "rate": 2}, "a window has less than two readings"),
        ({"window": 0}, "window is 0"),
        ({"window": 1, "contents": []}, "contents is an empty list"),
        ({"window": 1, "contents": ["spectra"]}, "contents is .*spectra.*expected a list .values, statistics"),
        ({"antialias": True}, "antialias is of a `rate`"),
    ],
)
def test_a_wrong_option_of_windows_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("series", options)


def test_windows_need_times(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n2\n")
    with pytest.raises(Unusable, match="window needs the time of each row"):
        series(tmp_path / "a.csv", window=1)
