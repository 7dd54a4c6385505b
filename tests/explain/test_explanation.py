"""An explanation is of what the run predicts, and is drawn over what the clip shows."""

import json
from functools import partial
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

import tiny
from sparsefuse.data.labels import Labels
from sparsefuse.data.lengths import Lengths
from sparsefuse.explain import explain
from sparsefuse.explain.explanation import Explanation
from sparsefuse.explain.footage import Footage, footage, placed
from sparsefuse.explain.occlusion import Occlusion
from sparsefuse.explain.page import ExplainedClip, explain_clip, page_name, write_page
from sparsefuse.explain.pictures import draw
from sparsefuse.inference.predictor import Prediction, Predictor, load
from sparsefuse.media import write_clip
from sparsefuse.methods import build
from sparsefuse.report import charts
from sparsefuse.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    config = tiny.config(tiny.write_set(folder / "data"), epochs=2)
    return train(config, folder / "run", root=Path(), measured=False)


def files(run: Path, name: str) -> dict[str, Path]:
    found = {modality: run.parent / f"data/features/{name}-{modality}.npy" for modality in tiny.FEATURES}
    return {modality: file for modality, file in found.items() if file.exists()}


SPECS = {
    "rgb": {"extractor": "frames", "source": "video", "rate": 5, "size": [8, 12], "gray": True, "patch": 4},
    "sound": {"extractor": "spectrogram", "source": "video", "rate": 8000, "bins": 16, "window": 0.025, "hop": 0.01,
              "context": 1, "every": 2},
}  # fmt: skip


@pytest.fixture
def predictor() -> Predictor:
    """An untrained model of a video's patches and sound."""
    torch.manual_seed(0)
    model = build("sft", {"rgb": 16, "sound": 48}, 3, dim=10, num_heads=2, unimodal_depth=1, fusion_depth=1, keep=4)
    labels = Labels("class", ("<b>", "c", "d"))
    return Predictor(model.eval(), labels, None, SPECS, Lengths())


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds, 48 x 64."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (20, 48, 64, 3), dtype=np.uint8)
    sound = rng.normal(size=16000).astype(np.float32) / 5
    write_clip(tmp_path / "clip.mp4", pixels, fps=10, sound=sound, sound_rate=8000)
    return tmp_path / "clip.mp4"


def test_patches_of_the_same_frames_are_added_up(run: Path) -> None:
    """Two frames a tubelet, four patches a frame: six tokens of sound become three shares."""
    torch.manual_seed(0)
    patches = {"sound": {"height": 4, "patch": 1, "time": 2}}
    sizes = {"dim": 10, "num_heads": 2, "unimodal_depth": 1, "fusion_depth": 1}
    model = build("mbt", tiny.FEATURES, 3, patches=patches, shared=True, **sizes).eval()
    labels = Labels("class", ("a", "b", "c"))
    clip = files(run, "test0")
    found = explain(Predictor(model, labels, None, {}, Lengths()), clip)
    assert len(found.rollout["sound"]) == 3
    assert sum(float(share.sum()) for share in found.rollout.values()) == pytest.approx(1)
    assert not found.notes
    windowed = explain(Predictor(model, labels, None, {}, Lengths(max_length=4, windows=2)), clip)
    assert "one pass over the whole clip" in windowed.notes[0]


def test_it_explains_what_the_run_predicts(run: Path) -> None:
    found = explain(run, files(run, "test0"))
    assert found.prediction == load(run).predict_one(files(run, "test0"))
    assert found.occlusion.whole == pytest.approx(max(found.prediction.probabilities.values()))
    assert {name: len(share) for name, share in found.rollout.items()} == tiny.LONGEST
    assert sum(found.shares.values()) == pytest.approx(1)
    for name, share in found.rollout.items():
        assert found.shares[name] == pytest.approx(float(share.sum()))
    assert 0 < found.learned < 1
    assert sum(float(part.relevance.sum()) for part in found.pooled.values()) == pytest.approx(1)


def test_a_missing_modality_takes_no_part(run: Path) -> None:
    found = explain(run, files(run, "test1"))
    assert found.prediction.missing == {"rgb": "not given"}
    assert found.rollout.keys() == found.shares.keys() == found.occlusion.windows.keys() == {"sound"}
    assert np.isnan(found.occlusion.without["sound"])


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_other_tasks_are_explained_by_their_own_number(tmp_path: Path, task: str) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data", task=task), epochs=1)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    found = explain(run, files(run, "test0"))
    said = found.prediction
    expected = max(said.probabilities.values()) if task == "multilabel" else float(said.label)
    assert found.occlusion.whole == pytest.approx(expected, rel=1e-4)
    page = write_page(
        ExplainedClip("test0", "sft", found, footage(load(run), {}, list(found.rollout))), tmp_path / "p.html"
    )
    assert ("Number without it" in page.read_text()) == (task == "regression")


def test_footage_of_a_video_has_its_frames_its_sound_and_its_length(predictor: Predictor, clip: Path) -> None:
    seen = footage(predictor, clip, ["rgb", "sound"])
    assert seen.frames.shape == (20, 96, 128, 3)
    assert seen.seconds == pytest.approx(2, abs=0.1)
    assert seen.sounds["sound"].shape[1] == 16, "of each frame, without its neighbours"
    assert seen.sounds["sound"].shape[0] == pytest.approx(200, abs=10)
    assert seen.grids == {"rgb": (2, 3)}
    assert explain(predictor, clip).covered == {"rgb": 1, "sound": 1}


def test_footage_of_a_part_is_that_of_the_part(predictor: Predictor, clip: Path) -> None:
    whole = footage(predictor, clip, ["rgb", "sound"])
    seen = footage(predictor, {"rgb": clip, "sound": clip, "start": 0.5, "end": "1.5"}, ["rgb", "sound"])
    np.testing.assert_array_equal(seen.frames, whole.frames[5:15])
    assert seen.seconds == pytest.approx(1)
    assert len(seen.sounds["sound"]) == 100


def test_tokens_cut_to_a_longest_length_cover_a_part(predictor: Predictor, clip: Path) -> None:
    predictor.fit = Lengths(max_length=30)
    covered = explain(predictor, clip).covered
    assert covered["rgb"] == pytest.approx(30 / (10 * 6))
    assert covered["sound"] == pytest.approx(30 / 100, rel=0.1)


class Seen(Predictor):
    """Of a film and a sensor's readings; there is no model."""

    def __init__(self) -> None:
        model = SimpleNamespace(modalities=("rgb", "wrist"), features={"rgb": 256, "wrist": 1})
        extract = {
            "rgb": {"extractor": "frames", "source": "video", "rate": 10, "size": [16, 16]},
            "wrist": {"extractor": "series", "source": "wrist", "time": "t"},
        }
        super().__init__(model, Labels("class", ("a", "b")), None, extract, Lengths())  # type: ignore


def test_streams_of_other_lengths_are_placed_by_their_seconds(tmp_path: Path) -> None:
    """A film of 4 s beside readings of 10 s: the film ends at 4 s, and its windows are within."""
    write_clip(tmp_path / "a.mp4", np.zeros((40, 16, 16, 3), np.uint8), fps=10)
    (tmp_path / "w.csv").write_text("t,x\n" + "".join(f"{i / 10},{i}\n" for i in range(100)))
    clip = {"rgb": tmp_path / "a.mp4", "wrist": tmp_path / "w.csv"}
    seen = footage(Seen(), clip, ["rgb", "wrist"])
    assert (seen.seconds, seen.picture) == (pytest.approx(10), pytest.approx(4))
    assert seen.lengths == {"rgb": pytest.approx(4), "wrist": pytest.approx(10)}
    windows = {"rgb": torch.tensor([0.9, 0.9, 0.9, 0.3]), "wrist": torch.tensor([0.9] * 4)}
    effects = Occlusion(0.9, {"rgb": 0.2, "wrist": 0.9}, windows, {"rgb": 0.01, "wrist": 0.01})
    shares = {name: torch.full((n,), 0.5 / n) for name, n in {"rgb": 40, "wrist": 100}.items()}
    found = Explanation(Prediction("a", {"a": 0.9, "b": 0.1}, {}), shares, {}, 0.0, "a", effects, {}, {}, (),
                        {"rgb": 1.0, "wrist": 1.0})  # fmt: skip
    found = placed(found, seen)
    assert "most of all from 3 to 4 s" in found.sentence(seen.seconds)
    drawn = panels(found, seen)
    assert drawn["rgb: rollout, 1 = an even share"].patches[0].get_data().edges[-1] == pytest.approx(4)
    strip = drawn["frames"].images
    assert strip[-1].get_extent()[1] == pytest.approx(4, abs=0.02)
    assert drawn["wrist: signal, each channel on its own scale"].lines[0].get_xdata()[-1] == pytest.approx(9.95)
    part = footage(Seen(), {**clip, "start": 1, "end": 6}, ["rgb", "wrist"])
    assert part.lengths == {"rgb": pytest.approx(3), "wrist": pytest.approx(5)}


def test_footage_of_features_is_empty(run: Path) -> None:
    seen = footage(load(run), files(run, "test0"), list(tiny.FEATURES))
    assert (len(seen.frames), seen.sounds, seen.seconds, seen.grids) == (0, {}, 0, {})


def panels(found: Explanation, seen: Footage) -> dict:
    """The figure's panels by title."""
    figure = draw(found, seen, charts.light())
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def test_a_video_is_drawn_with_its_frames_patches_and_sound(predictor: Predictor, clip: Path) -> None:
    found = explain(predictor, clip)
    drawn = panels(found, footage(predictor, clip, ["rgb", "sound"]))
    assert list(drawn) == [
        "frames, heat: rollout over the patches of rgb",
        "rgb: rollout, 1 = an even share; line: pooled tokens",
        "sound: log-mel, brighter = more attention",
        "sound: rollout, 1 = an even share; line: pooled tokens",
        "rollout by window and modality, % of the clip",
        f"lost when a window is masked, points of the probability of {found.prediction.label!r}; grey: within noise",
    ]
    strip, curve = drawn["frames, heat: rollout over the patches of rgb"], list(drawn.values())[1]
    assert len(strip.images) == 2 * 10, "each frame and its heat"
    assert strip.images[1].get_array().shape == (2, 3, 4)
    values = curve.patches[0].get_data().values
    share = found.rollout["rgb"].numpy() * sum(map(len, found.rollout.values()))
    np.testing.assert_allclose(values, share.reshape(10, 6).mean(1), rtol=1e-6)
    kept = found.pooled["rgb"]
    lines = kept.relevance.numpy() / (kept.stop - kept.start).numpy() * sum(map(len, found.rollout.values()))
    np.testing.assert_allclose(curve.patches[1].get_data().values, lines, rtol=1e-6)
    assert curve.get_xlim() == (0, pytest.approx(2, abs=0.1))


def test_features_alone_are_drawn_by_their_share_of_the_clip(run: Path) -> None:
    clip = files(run, "test0")
    found = explain(run, clip)
    drawn = panels(found, footage(load(run), clip, list(found.rollout)))
    assert next(iter(drawn)).startswith("rgb: rollout")
    last = list(drawn.values())[-1]
    assert last.get_xlabel() == "share of the clip, %"
    drops = 100 * found.occlusion.drops("rgb").numpy()
    np.testing.assert_allclose(last.patches[0].get_data().values, drops)


def test_windows_of_rollout_add_up_to_the_clip(predictor: Predictor, clip: Path) -> None:
    found = explain(predictor, clip)
    stacked = list(panels(found, footage(predictor, clip, ["rgb", "sound"])).values())[-2]
    assert stacked.patches[-1].get_data().values.sum() == pytest.approx(100, rel=1e-4)


def test_exchanged_tokens_have_a_panel_each(run: Path) -> None:
    clip = files(run, "test0")
    found = explain(run, clip)
    swapped = {3: {"rgb": torch.tensor([True, False, False, True])}, 5: {"rgb": torch.tensor([False] * 4)}}
    drawn = panels(found._replace(exchanged=swapped), footage(load(run), clip, list(found.rollout)))
    axes = drawn["rgb: tokens exchanged, by layer"]
    assert axes.images[0].get_array()[..., 3].tolist() == [[1, 0, 0, 1], [0, 0, 0, 0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["3", "5"]


@pytest.mark.slow
def test_the_page_holds_all_it_needs_and_escapes_names(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    found = explain(predictor, clip)
    explained = ExplainedClip("<i>", "sft", found, footage(predictor, clip, ["rgb", "sound"]))
    text = write_page(explained, tmp_path / "page.html").read_text()
    assert "http" not in text
    assert "<b>" not in text
    assert "&lt;i&gt;: what sft looked at" in text
    assert text.count("<image") >= 21
    for share in found.shares.values():
        assert f"{100 * share:.1f}" in text
    assert page_name(explained) == "_i_.html"


@pytest.mark.slow
def test_the_page_says_the_true_label_and_what_mattered(run: Path, tmp_path: Path) -> None:
    manifest = run.parent / "data/manifest.csv"
    found = explain_clip(run, None, manifest=manifest, id="test1")
    assert found.truth == "b"
    page = write_page(found, tmp_path / "page.html").read_text()
    assert "Its true label is <strong>b</strong>" in page
    verdict = "right" if found.explanation.prediction.label == "b" else "wrong"
    assert f"<strong>b</strong>: {verdict}." in page
    assert found.explanation.sentence() in unescape(page)
    page = write_page(found._replace(truth=""), tmp_path / "page.html").read_text()
    assert "true label" not in page


def test_a_small_effect_looks_small(run: Path) -> None:
    """An axis of a tenth of a point would make noise look like an effect."""
    found = explain(load(run), files(run, "test0"))
    names = found.occlusion.windows.keys()
    windows = {name: torch.full((4,), found.occlusion.whole - 0.001) for name in names}
    little = found._replace(occlusion=found.occlusion._replace(windows=windows, noise=dict.fromkeys(names, 0.003)))
    drawn = panels(little, footage(load(run), files(run, "test0"), list(names)))
    axes = next(axes for title, axes in drawn.items() if title.startswith("lost when a window is masked"))
    assert axes.get_ylim() == (-5, 5)
    (band,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert (band.get_y(), band.get_height()) == (pytest.approx(-0.3), pytest.approx(0.6))


def test_the_signal_of_a_sensor_is_drawn(tmp_path: Path) -> None:
    readings = np.stack([np.sin(np.arange(40) / 5), np.arange(40.0)], 1)
    lines = "".join(f"{a},{b}\n" for a, b in readings)
    (tmp_path / "imu.csv").write_text("x,y\n" + lines)
    model = build("unimodal", {"imu": 2}, 3, dim=10, num_heads=2, unimodal_depth=1)
    extract = {"imu": {"extractor": "series", "source": "imu", "columns": ["x", "y"]}}
    predictor = Predictor(model.eval(), Labels("class", ("a", "b", "c")), None, extract, Lengths())
    clip = {"imu": tmp_path / "imu.csv"}
    found = explain(predictor, clip)
    seen = footage(predictor, clip, ["imu"])
    np.testing.assert_allclose(seen.signals["imu"], readings, rtol=1e-5)
    axes = panels(found, seen)["imu: signal, each channel on its own scale"]
    first, second = (line.get_ydata() for line in axes.lines)
    np.testing.assert_allclose(second, 0.8 * np.arange(40) / 39 - 1, atol=1e-6)
    assert (first.min(), first.max()) == (pytest.approx(0), pytest.approx(0.8))


@pytest.mark.slow
def test_the_picture_is_a_png(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    found = explain(predictor, clip)
    charts.png(partial(draw, found, footage(predictor, clip, ["rgb", "sound"])), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "give either a media file, or --manifest FILE and --id ID"),
        ({"id": "test0"}, "give either a media file"),
        ({"manifest": True}, "give either a media file"),
        ({"manifest": True, "id": "tset0"}, r"no clip has the id 'tset0'; did you mean 'test0' or .* \(17 clips\)"),
    ],
)
def test_no_clip_or_two_is_an_error(run: Path, given: dict, expected: str) -> None:
    if "manifest" in given:
        given = {**given, "manifest": run.parent / "data/manifest.csv"}
    with pytest.raises(ValueError, match=expected):
        explain_clip(run, None, **given)


@pytest.mark.slow
def test_the_command_writes_page_and_picture(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sparsefuse.cli.app import main

    manifest = run.parent / "data/manifest.csv"
    flags = ["--manifest", str(manifest), "--id", "test0", "--png", str(tmp_path / "a.png")]
    monkeypatch.setattr("sys.argv", ["sparsefuse", "explain", str(run), *flags])
    main()
    lines = capsys.readouterr().out.splitlines()
    said = load(run).predict_one(files(run, "test0"))
    assert lines[0].split()[0] == said.label
    assert lines[2:] == [str(tmp_path / "a.png"), str(run / "explain/test0.html")]
    assert lines[1] == explain_clip(run, None, manifest=manifest, id="test0").sentence()
    assert lines[1] in unescape((run / "explain/test0.html").read_text(encoding="utf-8"))
    assert (run / "explain/test0.html").is_file()
    assert (tmp_path / "a.png").is_file()
    facts = json.loads((run / "model.json").read_text())
    assert f"what {facts['name']} looked at" in (run / "explain/test0.html").read_text()
    flags[-1] = str(tmp_path / "b.jpg")
    monkeypatch.setattr("sys.argv", ["sparsefuse", "explain", str(run), *flags, "--out", str(tmp_path / "b.html")])
    with pytest.raises(SystemExit, match=r"error: .*b\.jpg: expected a file name that ends with \.png"):
        main()
    assert not (tmp_path / "b.html").exists()


def test_a_manifest_in_the_place_of_a_clip_is_an_error_with_the_right_flags(run: Path) -> None:
    with pytest.raises(ValueError, match=r"is a table, not a media file; .*--manifest .*manifest\.csv --id ID"):
        explain_clip(run, run.parent / "data/manifest.csv")


def test_the_nearest_file_is_named_for_one_that_is_not_there(run: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"mainfest\.csv: there is no such file; did you mean .*/manifest\.csv\?"
    ):
        explain_clip(run, run.parent / "data/mainfest.csv")
