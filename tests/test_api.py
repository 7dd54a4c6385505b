"""The public Python API: build, methods, Tokens, and what its errors say."""

import importlib
import inspect
import subprocess
import sys

import pytest
import torch

import sparsefuse

FEATURES = {"rgb": 1024, "flow": 1024, "spectrogram": 128}
LENGTHS = {"rgb": 38, "flow": 38, "spectrogram": 1200}


def test_build_and_call_as_in_the_readme():
    keep = {"rgb": 12, "flow": 12, "spectrogram": 20}
    model = sparsefuse.build("sft", features=FEATURES, num_classes=10, lengths=LENGTHS, keep=keep)
    mask = torch.ones(2, 38, dtype=torch.bool)
    sound = torch.randn(2, 1200, 128), torch.ones(2, 1200, dtype=torch.bool)
    logits, penalty = model(
        {
            "rgb": sparsefuse.Tokens(torch.randn(2, 38, 1024), mask),
            "flow": sparsefuse.Tokens(torch.randn(2, 38, 1024), mask),
            "spectrogram": sparsefuse.Tokens(*sound),
        }
    )
    assert logits.shape == (2, 10)
    assert penalty.shape == ()


def test_joined_stream_has_as_many_tokens_as_are_kept():
    keep = {"rgb": 12, "flow": 12, "spectrogram": 20}
    model = sparsefuse.build("sft", features=FEATURES, num_classes=10, keep=keep).eval()
    seen = []
    clip = {
        name: sparsefuse.Tokens(torch.randn(1, n, FEATURES[name]), torch.ones(1, n, dtype=torch.bool))
        for name, n in LENGTHS.items()
    }
    model(clip, probe=lambda depth, state: seen.append({name: t.x.shape[1] for name, t in state.streams.items()}))
    assert seen[0] == {"flow": 39, "rgb": 39, "spectrogram": 1201}
    assert seen[-1] == {"fused": 45}


X, MASK = torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.bool)
KINDS = {
    "arrays": (sparsefuse.Tokens(X.numpy(), MASK.numpy()), "'rgb' is Tokens of ndarray, ndarray; expected a tensor"),
    "array as mask": (sparsefuse.Tokens(X, MASK.numpy()), "'rgb' is Tokens of Tensor, ndarray"),
    "an array alone": (X.numpy(), r"'rgb' is ndarray; expected a tensor \(B, N, 4\), or Tokens"),
    "a tuple": ((X, MASK), "'rgb' is tuple; expected a tensor"),
    "a tensor without a batch": (X[0], r"got x \(5, 4\)"),
    "doubles": (sparsefuse.Tokens(X.double(), MASK), r"x \(B, N, 4\) torch.float32 .* got x \(2, 5, 4\) torch.float64"),
    "whole numbers": (sparsefuse.Tokens(X.long(), MASK), "got x .* torch.int64"),
    "a mask of numbers": (sparsefuse.Tokens(X, MASK.long()), r"mask \(B, N\) torch.bool; got .* torch.int64"),
    "a mask too short": (sparsefuse.Tokens(X, MASK[:, :3]), r"got .* mask \(2, 3\)"),
    "one clip without a batch": (sparsefuse.Tokens(X[0], MASK[0]), r"got x \(5, 4\)"),
    "nothing": (sparsefuse.Tokens(X[:, :0], MASK[:, :0]), "clip 0 of the batch has no token"),
    "one clip masked": (sparsefuse.Tokens(X, MASK & torch.tensor([[True], [False]])), "clip 1 .* all are masked"),
}


@pytest.mark.parametrize(("given", "message"), KINDS.values(), ids=KINDS)
def test_tokens_of_the_wrong_kind_are_an_error_that_says_what_is_expected(given, message):
    model = sparsefuse.build("concat", features={"rgb": 4, "sound": 3}, num_classes=2).eval()
    with pytest.raises(ValueError, match=message):
        model({"rgb": given})


def test_a_plain_tensor_is_tokens_that_are_all_real():
    model = sparsefuse.build("concat", features={"rgb": 4, "sound": 3}, num_classes=2).eval()
    with torch.no_grad():
        torch.testing.assert_close(model({"rgb": X}), model({"rgb": sparsefuse.Tokens(X, MASK)}), rtol=0, atol=0)


def test_batches_of_different_sizes_are_an_error():
    model = sparsefuse.build("concat", features={"rgb": 4, "sound": 3}, num_classes=2).eval()
    sound = sparsefuse.Tokens(torch.randn(3, 5, 3), torch.ones(3, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="batches of different sizes: rgb 2, sound 3"):
        model({"rgb": sparsefuse.Tokens(X, MASK), "sound": sound})


def test_a_masked_modality_is_fine_where_another_is_there():
    model = sparsefuse.build("concat", features={"rgb": 4, "sound": 3}, num_classes=2).eval()
    sound = sparsefuse.Tokens(torch.randn(2, 5, 3), MASK)
    with torch.no_grad():
        masked = model({"rgb": sparsefuse.Tokens(X, ~MASK), "sound": sound}).logits
        torch.testing.assert_close(masked, model({"sound": sound}).logits)


def test_methods_are_listed_in_order():
    names = sparsefuse.methods()
    assert names == sorted(names)
    assert {"concat", "late", "mbt", "mult", "sft", "unimodal"} <= set(names)


def test_the_folder_of_methods_is_also_the_function():
    import sparsefuse.methods as folder

    assert folder() == sparsefuse.methods() == folder.methods()


def test_unknown_method_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"unknown method 'stf'; did you mean 'sft'\? available: concat, late, "):
        sparsefuse.build("stf", features=FEATURES, num_classes=10)


def test_unknown_option_suggests_the_nearest():
    with pytest.raises(ValueError, match="unknown option of sft 'kep'; did you mean 'keep'"):
        sparsefuse.build("sft", features=FEATURES, num_classes=10, kep=3)


@pytest.mark.parametrize("value", ["x", None, -1, True, float("nan"), float("inf"), [1], {"rgb": 1}])
@pytest.mark.parametrize("option", ["dim", "unimodal_depth", "drop"])
def test_what_is_no_number_is_an_error_that_names_the_option(option, value):
    """A depth of -1 was no layer, in silence; a text was a traceback."""
    with pytest.raises(ValueError, match=rf"{option} of sft is .*; expected a (whole )?number, 0 or more"):
        sparsefuse.methods.build("sft", {"rgb": 4, "sound": 3}, 2, **{"dim": 8, "num_heads": 2, option: value})


def test_a_wrong_word_for_an_option_suggests_the_nearest():
    with pytest.raises(ValueError, match="unknown sparse 'stridd'; did you mean 'strided'"):
        sparsefuse.build("sft", features=FEATURES, num_classes=10, sparse="stridd")
    with pytest.raises(ValueError, match="did you mean 'symmetric'"):
        sparsefuse.build("mbt", features=FEATURES, num_classes=10, update="symetric")
    with pytest.raises(ValueError, match="unknown modality 'spectogram'; did you mean 'spectrogram'"):
        sparsefuse.build("unimodal", features=FEATURES, num_classes=10, modality="spectogram")
    with pytest.raises(ValueError, match="unknown pool 'atn'; did you mean 'attn'"):
        sparsefuse.build("sft", features=FEATURES, num_classes=10, pool="atn")


def test_keep_and_stride_together_are_refused():
    with pytest.raises(ValueError, match="give keep or stride, not both; got keep=3, stride=2"):
        sparsefuse.build("sft", features=FEATURES, num_classes=10, keep=3, stride=2)


def test_attention_pooling_without_attention_is_refused():
    with pytest.raises(ValueError, match=r"pool='attn' .* needs sparse other than 'none'"):
        sparsefuse.build("sft", features=FEATURES, num_classes=10, sparse="none", pool="attn")


def test_no_modality_is_refused():
    with pytest.raises(ValueError, match="features must name at least one modality"):
        sparsefuse.build("sft", features={}, num_classes=10)


def test_unknown_modality_in_lengths_is_refused():
    with pytest.raises(ValueError, match="lengths: unknown modality 'rbg'; did you mean 'rgb'"):
        sparsefuse.build("sft", features={"rgb": 4}, num_classes=2, lengths={"rgb": 3, "rbg": 3})


METHOD = """
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.head import Head
from sparsefuse.model import FusionModel


def build(features, num_classes, *, lengths=None, dim=8):
    names = tuple(sorted(features))
    return FusionModel(Embed(features, dim, lengths), [], Head(dim, num_classes, names), features=features)
"""


def test_a_method_comes_from_a_file(tmp_path):
    path = tmp_path / "shallow.py"
    path.write_text(METHOD)
    model = sparsefuse.build(str(path), {"a": 3}, 2, dim=4)
    logits, _ = model({"a": sparsefuse.Tokens(torch.randn(1, 2, 3), torch.ones(1, 2, dtype=torch.bool))})
    assert logits.shape == (1, 2)
    with pytest.raises(ValueError, match=r"unknown option of .*shallow.py 'dimm'; did you mean 'dim'"):
        sparsefuse.build(str(path), {"a": 3}, 2, dimm=4)


def test_a_method_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no method file at .*gone.py"):
        sparsefuse.build(str(tmp_path / "gone.py"), {"a": 3}, 2)


def test_a_method_file_without_build_is_refused(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"empty.py must define build\("):
        sparsefuse.build(str(path), {"a": 3}, 2)


def test_an_unknown_name_of_the_package_says_what_there_is():
    with pytest.raises(AttributeError, match="unknown name 'biuld'; did you mean 'build'"):
        _ = sparsefuse.biuld


def test_public_names_are_all_there():
    names = {"Classifier", "Config", "Tokens", "ablate", "backend", "build", "check", "compare", "export", "extract"}
    names |= {"budget", "load", "methods", "study", "train"}
    names |= {"distill", "ensemble", "fit"}
    assert set(sparsefuse.__all__) == names
    assert names <= set(dir(sparsefuse))
    code = f"from sparsefuse import *; {', '.join(sorted(names))}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sparsefuse.__all__)
def test_public_names_are_documented_and_can_be_called(name):
    named = getattr(sparsefuse, name)
    assert callable(named)
    assert inspect.getdoc(named)
    assert all(word in str(inspect.signature(named)) for word in {"train": ["config", "out", "fields"]}.get(name, []))


PACKAGES = ("budget", "export", "methods", "study")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_the_public_function_too(name):
    folder = importlib.import_module(f"sparsefuse.{name}")
    assert folder is getattr(sparsefuse, name)
    function = folder.__wrapped__
    assert (function.__name__, folder.__name__) == (name, f"sparsefuse.{name}")
    assert inspect.signature(folder) == inspect.signature(function)
    assert function.__doc__
