"""What teachers say is what they predict, once per clip; the loss is by hand; and the student alone learns."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from sparsefuse import metrics
from sparsefuse.config import Config, Distill
from sparsefuse.data.clips import load_clips
from sparsefuse.data.labels import Labels
from sparsefuse.files import checkpoint
from sparsefuse.inference.ensemble import ensemble
from sparsefuse.inference.predictor import load
from sparsefuse.mixup import Mix
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Calibration, ModelFacts, Result
from sparsefuse.tokens import HeadOutputs
from sparsefuse.training import multiclip, teachers
from sparsefuse.training.loss import Loss, Taught
from sparsefuse.training.teachers import lesson
from sparsefuse.training.train import new_model, train


def softened(logits: list[float], temperature: float) -> list[float]:
    powers = [math.exp(x / temperature) for x in logits]
    return [p / sum(powers) for p in powers]


def divergence(theirs: list[float], own: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(theirs, own, strict=True))


STUDENT, TEACHER = [0.5, 1.0, -1.0], [2.0, 0.0, -2.0]


def soft(student: list[float] = STUDENT, teacher: list[float] = TEACHER, temperature: float = 2.0) -> float:
    """T^2 KL, as in Hinton et al. 2015."""
    return temperature**2 * divergence(softened(teacher, temperature), softened(student, temperature))


def test_the_loss_is_the_divergence_at_a_temperature_times_its_square() -> None:
    found = metrics.soft_losses(
        torch.tensor([STUDENT, TEACHER]), torch.tensor([TEACHER, TEACHER]), "class", temperature=2
    )
    assert found.tolist() == pytest.approx([soft(), 0.0], abs=1e-6)


def test_every_task_has_its_own_form() -> None:
    own, theirs = torch.tensor([STUDENT]), torch.tensor([TEACHER])
    binary = [
        4 * divergence([p, 1 - p], [q, 1 - q])
        for x, y in zip(STUDENT, TEACHER, strict=True)
        for p, q in [(1 / (1 + math.exp(-y / 2)), 1 / (1 + math.exp(-x / 2)))]
    ]
    found = metrics.soft_losses(own, theirs, "multilabel", temperature=2)
    assert float(found) == pytest.approx(sum(binary) / 3, abs=1e-6)
    parts = (soft(STUDENT[:2], TEACHER[:2]) + soft(STUDENT[2:], TEACHER[2:])) / 2
    found = metrics.soft_losses(own, theirs, "heads", temperature=2, heads={"verb": 2, "noun": 1})
    assert float(found) == pytest.approx(parts, abs=1e-6)
    assert float(metrics.soft_losses(own, theirs, "regression", temperature=2)) == pytest.approx(1.5)


def outputs(logits: Tensor) -> HeadOutputs:
    return HeadOutputs(logits[:, None], torch.ones(len(logits), 1))


def cross_entropy(logits: list[float], label: int) -> float:
    return -math.log(softened(logits, 1)[label])


def test_labels_and_teachers_share_the_loss() -> None:
    """The second clip has no label, of the third the teacher knows nothing."""
    logits = torch.tensor([STUDENT] * 3, requires_grad=True)
    said = torch.tensor([TEACHER] * 3, requires_grad=True)
    taught = Taught(said.detach(), torch.tensor([True, True, False]), torch.tensor([True, False, True]))
    loss = Loss(Labels("class", ("a", "b", "c")), label_smoothing=0, distill=Distill(temperature=2, weight=0.3))
    each = loss(outputs(logits), torch.tensor([0, 1, 2]), None, taught)
    expected = [0.7 * cross_entropy(STUDENT, 0) + 0.3 * soft(), 0.3 * soft(), cross_entropy(STUDENT, 2)]
    assert each.tolist() == pytest.approx(expected, abs=1e-6)
    each.sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


def test_what_teachers_say_is_mixed_as_labels_are() -> None:
    logits = torch.tensor([STUDENT, [0.0, 0.3, 0.9]])
    said = torch.tensor([TEACHER, [-1.0, 0.0, 1.0]])
    taught = Taught(said, torch.tensor([True, True]), torch.tensor([True, False]))
    mix = Mix(1, torch.tensor([1, 0]), {}, torch.tensor([0.8, 0.6]))
    loss = Loss(Labels("class", ("a", "b", "c")), label_smoothing=0, distill=Distill(temperature=2, weight=0.5))
    expected = []
    for i, (partner, share) in enumerate(((1, 0.8), (0, 0.6))):
        total = 0.0
        for clip, part in ((i, share), (partner, 1 - share)):
            hard = 0.5 * cross_entropy(logits[i].tolist(), 2) if clip == 0 else 0.0
            total += part * (hard + 0.5 * soft(logits[i].tolist(), said[clip].tolist()))
        expected.append(total)
    assert loss(outputs(logits), torch.tensor([2, 1]), mix, taught).tolist() == pytest.approx(expected, abs=1e-6)


def test_numbers_are_mixed_before_the_distance() -> None:
    logits, said, labels = torch.tensor([[0.5], [2.0]]), torch.tensor([[1.0], [-1.0]]), torch.tensor([3.0, 0.0])
    taught = Taught(said, torch.tensor([True, True]), torch.tensor([True, True]))
    mix = Mix(1, torch.tensor([1, 0]), {}, torch.tensor([0.75, 1.0]))
    found = Loss(Labels("regression"), label_smoothing=0)(outputs(logits), labels, mix, taught)
    assert found.tolist() == pytest.approx([(abs(0.5 - 2.25) + abs(0.5 - 0.5)) / 2, (2.0 + 3.0) / 2])


def test_the_cls_is_drawn_to_the_teachers_direction() -> None:
    cls, theirs = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 2.0], [5.0, 5.0]])
    taught = Taught(torch.tensor([TEACHER] * 2), torch.tensor([True, True]), torch.tensor([True, True]), theirs)
    with_, without = (
        Loss(Labels("class", ("a", "b", "c")), label_smoothing=0, distill=Distill(features=f))(
            outputs(torch.tensor([STUDENT] * 2)), torch.tensor([0, 0]), None, taught, cls
        )
        for f in (2.0, 0.0)
    )
    assert (with_ - without).tolist() == pytest.approx([2.0, 0.0], abs=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two teachers, `late` and `sound`, and the set they learned."""
    folder = tmp_path_factory.mktemp("teachers")
    manifest = tiny.write_set(folder / "data")
    late = tiny.with_data(tiny.config(manifest, "late", lr=0.01, epochs=4), max_length=3)
    train(late, folder / "late", measured=False, shown=False)
    sound = tiny.with_data(tiny.config(manifest, "unimodal", lr=0.01), modalities=["sound"])
    train(sound, folder / "sound", measured=False, shown=False)
    RunFolder(folder / "late").write(Calibration(0.5, 4, 1.0, 1.0))
    return folder


def student(folder: Path, *names: str, data: Path | None = None, **distill: object) -> Config:
    """sft, taught by the runs of these names."""
    config = tiny.config(data or folder / "data/manifest.csv", "sft", lr=0.01)
    return replace(config, distill=Distill([str(folder / name) for name in names], **distill))  # type: ignore[arg-type]


def lesson_of(config: Config) -> teachers.Lesson:
    clips = load_clips(config.data, Path())
    return lesson(config, clips, new_model(config, clips))


def arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    files = {modality: folder / f"data/features/{name}-{modality}.npy" for modality in tiny.FEATURES}
    return {modality: np.load(file) for modality, file in files.items() if file.exists()}


def test_teachers_say_what_they_predict(folder: Path) -> None:
    found, late = lesson_of(student(folder, "late")), load(folder / "late")
    assert not found.logits.requires_grad
    for i in range(9):
        taught = found.of([f"train{i}"])
        assert taught.there
        expected = list(late.predict_one(arrays(folder, f"train{i}")).probabilities.values())
        assert taught.logits.softmax(1)[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_several_teachers_say_the_mean(folder: Path) -> None:
    both, late, sound = (lesson_of(student(folder, *names)) for names in (("late", "sound"), ("late",), ("sound",)))
    for name in ("train0", "train1", "train8"):
        expected = (late.of([name]).logits + sound.of([name]).logits) / 2
        torch.testing.assert_close(both.of([name]).logits, expected, atol=1e-5, rtol=1e-5)
    pair = ensemble([folder / "late", folder / "sound"], folder / "pair", measured=False)
    temperature = load(pair).temperature
    again = lesson_of(student(folder, "pair")).of(["train3"]).logits
    torch.testing.assert_close(again * temperature, both.of(["train3"]).logits, atol=1e-5, rtol=1e-5)


def test_answers_are_computed_once_until_something_changes(folder: Path, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(folder / "late", tmp_path / "late", ignore=shutil.ignore_patterns("outputs"))
    shutil.copytree(folder / "data", tmp_path / "data")
    calls = []
    true = multiclip.predict
    monkeypatch.setattr(multiclip, "predict", lambda *args, **kw: calls.append(1) or true(*args, **kw))
    config = student(tmp_path, "late")
    first = lesson_of(config)
    assert torch.equal(lesson_of(config).logits, first.logits)
    assert len(calls) == 1
    RunFolder(tmp_path / "late").write(Calibration(2.0, 4, 1.0, 1.0))
    assert torch.allclose(lesson_of(config).logits * 4, first.logits, atol=1e-5)
    assert len(calls) == 2
    changed = np.load(tmp_path / "data/features/train0-rgb.npy") + 1
    np.save(tmp_path / "data/features/train0-rgb.npy", changed)
    lesson_of(config)
    assert len(calls) == 3


@pytest.mark.slow
def test_with_all_the_weight_labels_have_no_say(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "data", tmp_path / "data")
    tiny.edit(tmp_path / "data/manifest.csv", train0={"label": "b"}, train4={"label": "c"}, train5={"label": "a"})
    runs = [
        train(student(folder, "late", data=data / "data/manifest.csv", weight=weight), tmp_path / f"{weight}{i}",
              measured=False, shown=False)
        for weight in (1.0, 0.5) for i, data in enumerate((folder, tmp_path))
    ]  # fmt: skip
    tensors = [checkpoint.load(run / "last.safetensors").tensors for run in runs]
    same = [all(torch.equal(a[n], b[n]) for n in a if n.startswith("model/")) for a, b in (tensors[:2], tensors[2:])]
    assert same == [True, False]


def test_a_resumed_student_ends_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    config = replace(student(folder, "late", features=0.5), method="late")
    config = replace(config, train=replace(config.train, mixup_alpha=0.3, mixup_warmup=0))
    whole = train(config, tmp_path / "whole", measured=False, shown=False)
    train(config, tmp_path / "parts", measured=False, shown=False, stop=lambda _: True)
    parts = train(config, tmp_path / "parts", resume=True, measured=False, shown=False)
    assert tiny.epochs(whole) == tiny.epochs(parts)
    one, other = (checkpoint.load(run / "model.safetensors").tensors for run in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert RunFolder(whole).read(Result).teachers == RunFolder(parts).read(Result).teachers
    assert checkpoint.load(folder / "late/model.safetensors").tensors.keys() == one.keys()


def test_a_teacher_that_changed_ends_a_resume(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "late", tmp_path / "late")
    config = student(tmp_path, "late", data=folder / "data/manifest.csv")
    train(config, tmp_path / "run", measured=False, shown=False, stop=lambda _: True)
    RunFolder(tmp_path / "late").write(Calibration(2.0, 4, 1.0, 1.0))
    with pytest.raises(ValueError, match="was started with other teachers, or clips for them"):
        train(config, tmp_path / "run", resume=True, measured=False, shown=False)


def test_the_result_says_who_taught(folder: Path, tmp_path: Path) -> None:
    run = train(student(folder, "late", "sound"), tmp_path / "run", measured=False, shown=False)
    found = RunFolder(run).read(Result).teachers
    late = RunFolder(folder / "late").read(Result)
    assert found is not None
    assert [teacher.name for teacher in found] == ["late", "unimodal"]
    assert found[0].gmacs == late.cost.gmacs
    assert found[0].test == late.test


def test_a_student_of_the_teachers_width_learns_its_cls(folder: Path, caplog) -> None:
    config = student(folder, "late", features=1.0)
    found = lesson_of(replace(config, method="late"))
    assert found.cls is not None
    assert found.cls.shape == (9, 10)
    late = load(folder / "late")
    for name in ("train0", "train1", "train5"):
        streams = late.model.encode(late.tokens(arrays(folder, name))[0]).streams
        there = [streams[part].x[0, 0] for part in ("rgb", "sound") if streams[part].mask[0, 0]]
        torch.testing.assert_close(found.of([name]).cls[0], sum(there) / len(there), atol=1e-5, rtol=1e-5)
    wide = {**config.options, "late": {"dim": 20}}
    assert lesson_of(replace(config, method="late", options=wide)).cls is None
    assert "the teacher's CLS is 10 wide, the model's 20" in caplog.text
    assert lesson_of(student(folder, "late", "sound", features=1.0)).cls is None
    assert "no teacher has a CLS of its own" in caplog.text


def test_unlabelled_clips_are_learned_from_teachers_alone(folder: Path, tmp_path: Path) -> None:
    tiny.write_set(tmp_path / "more", (5, 0, 0), seed=7)
    lines = (tmp_path / "more/manifest.csv").read_text().splitlines()
    plain = tmp_path / "more/unlabelled.csv"
    plain.write_text("\n".join(",".join(line.split(",")[:3]) for line in lines) + "\n")
    config = student(folder, "late", unlabelled=str(plain))
    found = lesson_of(config)
    data = found.clips.splits["train"]
    assert [row.id for row in data.rows][9:] == [f"unlabelled:train{i}" for i in range(5)]
    assert len(found.clips.sizes["train"]) == 14
    taught = found.of(["train0", "unlabelled:train2"])
    assert taught.labelled.tolist() == [True, False]
    features = {name: np.load(tmp_path / f"more/features/train2-{name}.npy") for name in tiny.FEATURES}
    expected = list(load(folder / "late").predict_one(features).probabilities.values())
    assert taught.logits.softmax(1)[1].tolist() == pytest.approx(expected, abs=1e-5)
    assert len(data[9].features["rgb"]) == 4
    run = train(config, tmp_path / "run", measured=False, shown=False)
    facts = RunFolder(run).read(ModelFacts)
    assert facts.clips["train"].count == 9
    assert RunFolder(run).seen() > (RunFolder(folder / "late").seen() or set())
    assert found.clips.tokens["sound"] == sum(len(sample.features.get("sound", ())) for sample in data)


def test_unlabelled_clips_that_test_the_student_are_refused(folder: Path) -> None:
    config = student(folder, "late", unlabelled=str(folder / "data/manifest.csv"))
    with pytest.raises(ValueError, match=r"manifest.csv has \d+ files of clips that are held out here"):
        lesson_of(config)
    assert lesson_of(tiny.with_data(config, leaks="warn")).logits.shape == (9 + 17, 3)


def test_a_teacher_that_has_seen_the_test_clips_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "data", tmp_path / "data")
    tiny.edit(tmp_path / "data/manifest.csv", train0={"split": "test"}, test0={"split": "train"})
    with pytest.raises(ValueError, match=r"late has seen 2 files of clips that are held out here"):
        lesson_of(student(folder, "late", data=tmp_path / "data/manifest.csv"))


def test_a_teacher_of_other_classes_is_refused(folder: Path, tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path / "data", task="multilabel")
    with pytest.raises(ValueError, match="has other classes than the data"):
        lesson_of(student(folder, "late", data=manifest))
