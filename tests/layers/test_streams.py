"""Embed, join, head and the options of modalities, by hand."""

import pytest
import torch

from sparsefuse.layers.embed import Embed, sinusoids, table_rows
from sparsefuse.layers.head import Head
from sparsefuse.layers.join import Join
from sparsefuse.layers.options import per_modality, span_for
from sparsefuse.tokens import State, Tokens

NONE = torch.zeros(())


def tokens(values, mask):
    return Tokens(torch.tensor(values)[..., None], torch.tensor(mask))


def test_join_sums_cls_of_those_there_and_lines_up_the_rest():
    a = tokens([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]], [[True, True, True], [True, True, False]])
    b = tokens([[4.0, 5.0], [40.0, 50.0]], [[True, True], [False, False]])
    streams = Join(("a", "b"))(State({"b": b, "a": a, "other": a}, NONE)).streams
    assert list(streams) == ["fused"]
    assert streams["fused"].x[..., 0].tolist() == [[5.0, 2.0, 3.0, 5.0], [10.0, 20.0, 30.0, 50.0]]
    assert streams["fused"].mask.tolist() == [[True] * 4, [True, True, False, False]]


def test_join_weighs_a_partly_present_cls():
    a = Tokens(torch.tensor([[[2.0], [1.0]]]), torch.tensor([[0.25, 1.0]]))
    b = Tokens(torch.tensor([[[4.0], [1.0]]]), torch.tensor([[0.75, 1.0]]))
    fused = Join(("a", "b"))(State({"a": a, "b": b}, NONE)).streams["fused"]
    assert fused.x[0, 0, 0] == 2 * (0.25 * 2 + 0.75 * 4)  # shares of a sum of two
    assert fused.mask[0, 0] == 1


def embed(features, dim, lengths=None):
    torch.manual_seed(0)
    return Embed(features, dim, lengths)


def test_embed_projects_adds_cls_and_the_table_of_positions():
    layer = embed({"a": 3}, 4, {"a": 5})
    x = torch.randn(2, 5, 3)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    out = layer({"a": Tokens(x, mask)}).streams["a"]
    assert out.x.shape == (2, 6, 4)
    for n in range(5):
        for b in range(2):
            if mask[b, n]:
                expected = layer.project[0].weight @ x[b, n] + layer.project[0].bias + layer.position[0][n + 1]
                torch.testing.assert_close(out.x[b, n + 1], expected)
    torch.testing.assert_close(out.x[0, 0], layer.cls[0] + layer.position[0][0])
    assert out.mask.tolist() == [[True] * 6, [True, True, True, False, False, False]]


def test_embed_without_lengths_adds_sinusoids():
    """Vaswani et al. 2017: sin and cos of n / 10000^(i / half)."""
    layer = embed({"a": 3}, 4)
    x = torch.randn(1, 3, 3)
    out = layer({"a": Tokens(x, torch.ones(1, 3, dtype=torch.bool))}).streams["a"].x
    for n in range(4):
        angles = torch.tensor([n / 10000**0, n / 10000**0.5])
        bare = layer.cls[0] if n == 0 else layer.project[0](x[0, n - 1])
        torch.testing.assert_close(out[0, n], bare + torch.cat([angles.sin(), angles.cos()]))


@pytest.mark.parametrize("dim", [1, 4, 5])
def test_sinusoids_have_the_width_asked_for(dim):
    assert sinusoids(7, dim, torch.zeros(1)).shape == (1, 7, dim)


def test_embed_never_reads_padding():
    layer = embed({"a": 3}, 4)
    mask = torch.tensor([[True, False]])
    x = torch.tensor([[[1.0, 2.0, 3.0], [float("nan")] * 3]], requires_grad=True)
    out = layer({"a": Tokens(x, mask)}).streams["a"]
    out.x.sum().backward()
    assert out.x.isfinite().all()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_embed_gives_an_absent_modality_a_cls_that_is_masked():
    layer = embed({"a": 3, "b": 2}, 4)
    streams = layer({"a": Tokens(torch.ones(2, 3, 3), torch.tensor([[True] * 3, [False] * 3]))}).streams
    assert streams["b"].x.shape == (2, 2, 4)
    assert not streams["b"].mask.any()
    assert streams["a"].mask[:, 0].tolist() == [True, False]


def test_positions_beyond_the_table_are_interpolated_over_the_real_length():
    table = torch.tensor([[0.0], [10.0], [20.0]])  # CLS and two positions
    mask = torch.tensor([[True] * 5, [True, True, True, False, False], [True, True, True, True, False]])
    rows = table_rows(table, mask)[..., 0]
    assert rows[0].tolist() == [0.0, 5.0, 10.0, 15.0, 20.0]
    assert rows[1, :3].tolist() == [0.0, 10.0, 20.0]  # fits: whole positions
    torch.testing.assert_close(rows[2, :4], torch.tensor([0.0, 20 / 3, 40 / 3, 20.0]))


def test_positions_within_the_table_are_its_rows():
    table = torch.randn(6, 4)
    assert torch.equal(table_rows(table, torch.ones(3, 4, dtype=torch.bool)), table[None, :4])


def head(reduce):
    torch.manual_seed(0)
    return Head(4, 3, ("a", "b"), reduce=reduce)


def test_head_leaves_out_streams_that_are_missing():
    a, b = torch.randn(2, 2, 4), torch.randn(2, 3, 4)
    there = torch.tensor([[True, True, True], [False, False, False]])
    state = State({"a": Tokens(a, torch.ones(2, 2, dtype=torch.bool)), "b": Tokens(b, there)}, NONE)
    for reduce, divisor in (("sum", 2), ("mean", 1)):
        layer = head(reduce)
        one, two = (layer.classify(layer.norm(x[:, 0])) for x in (a, b))
        expected = torch.stack([(one[0] + two[0]) * divisor / 2, one[1]])
        torch.testing.assert_close(layer(state), expected)


def test_head_with_nothing_to_read_is_finite():
    nothing = Tokens(torch.randn(1, 2, 4), torch.zeros(1, 2, dtype=torch.bool))
    for reduce in ("sum", "mean"):
        assert head(reduce)(State({"a": nothing, "b": nothing}, NONE)).tolist() == [[0.0, 0.0, 0.0]]


def test_one_value_holds_for_every_modality():
    assert per_modality("keep", 3, ("a", "b")) == {"a": 3, "b": 3}
    assert per_modality("keep", {"b": 2, "a": 1}, ("a", "b")) == {"a": 1, "b": 2}
    assert per_modality("keep", None, ("a", "b")) == {"a": None, "b": None}


def test_option_errors_name_the_option_and_the_modality():
    with pytest.raises(ValueError, match="keep: unknown modality 'sond'; did you mean 'sound'"):
        per_modality("keep", {"sond": 1, "rgb": 1}, ("rgb", "sound"))
    with pytest.raises(ValueError, match="keep lacks modality 'sound'"):
        per_modality("keep", {"rgb": 1}, ("rgb", "sound"))
    with pytest.raises(ValueError, match="stride must be at least 1; got 0"):
        per_modality("stride", 0, ("rgb",))
    with pytest.raises(ValueError, match=r"stride\['rgb'\] must be at least 1; got -2"):
        per_modality("stride", {"rgb": -2}, ("rgb",))


def test_span_is_about_the_root_of_the_length_where_that_is_known():
    assert [span_for("a", {"a": n}, "strided") for n in (1200, 500, 50, 5)] == [32, 24, 7, 2]
    assert span_for("a", {"a": 1200}, "fixed") == 32
    assert span_for("a", None, "strided") == 32
    assert span_for("a", {"a": 1}, "strided") == 1
    # local: one block for short streams
    assert [span_for("a", {"a": n}, "local") for n in (38, 64, 65, 32768)] == [64, 64, 16, 16]
    assert span_for("a", None, "local") == 16


def test_lengths_must_name_every_modality():
    with pytest.raises(ValueError, match="lengths lacks modality 'b'; it has a"):
        Embed({"a": 3, "b": 2}, 4, {"a": 5})
