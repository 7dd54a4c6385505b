"""Counted costs are those of an independent counter, of hand arithmetic, and of the published tables."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import tiny
from sparsefuse.cost.count import count, total
from sparsefuse.cost.measure import measure
from sparsefuse.cost.table import PUBLISHED, ledger
from sparsefuse.methods import build, find, methods
from sparsefuse.tokens import State, Tokens

FEATURES = {"rgb": 6, "sound": 4, "flow": 5}
LENGTHS = {"rgb": 9, "sound": 40, "flow": 7}
SFT = [
    {"sparse": "fixed"},
    {"sparse": "dense"},
    {"sparse": "none"},
    {"pool": "max"},
    {"pool": "attn", "sparse": "dense"},
    {"pool": "attn", "sparse": "fixed"},
    {"keep": None, "stride": 4},
    {"unimodal_attention": "strided"},
    {"unimodal_attention": "local", "sparse": "local"},
]
CASES = [(name, dict(find(name).TEST)) for name in methods()]
CASES += [("sft", {**find("sft").TEST, **options}) for options in SFT]
CASES += [("tokenfusion", {**find("tokenfusion").TEST, "substitute": "output", "shared": "all_but_norm"})]
CASES += [("mbt", {**find("mbt").TEST, "update": "sequential", "unimodal_attention": "fixed"})]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_multiply_adds_are_half_of_torchs_flops(name: str, options: dict) -> None:
    """torch counts a multiply-add as 2."""
    model = build(name, FEATURES, 3, lengths=LENGTHS, **options).eval().requires_grad_(False)
    clip = {
        name: Tokens(torch.randn(1, length, FEATURES[name]), torch.ones(1, length, dtype=torch.bool))
        for name, length in LENGTHS.items()
    }
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clip)
    assert counter.get_total_flops() > 0
    assert count(model, LENGTHS).total == counter.get_total_flops() / 2


def test_one_dense_block_by_hand() -> None:
    """4 N D^2 for queries, keys, values and output, 2 N^2 D for attention, 2 N D^2 for the MLP; N counts CLS."""
    n, d, f, classes = 7 + 1, 10, 5, 3
    model = build("unimodal", {"rgb": f}, classes, unimodal_depth=1, dim=d, num_heads=2)
    found = count(model, {"rgb": 7})
    assert found.embed == 7 * f * d
    assert found.layers == 4 * n * d * d + 2 * n * n * d + 2 * n * d * d
    assert found.head == d * classes
    assert found.paper == found.layers + 4 * n * d
    assert found.total == found.embed + found.layers + found.head
    block = 4 * (d * d + d) + 2 * d + 2 * (d * d + d)
    assert found.parameters == (f * d + d) + d + block + 2 * d + (d * classes + classes)


def test_cost_grows_with_the_square_of_the_length_where_attention_is_dense() -> None:
    model = build("unimodal", {"rgb": 5}, 3, unimodal_depth=1, dim=10, num_heads=2)
    a, b, c = (count(model, {"rgb": n - 1}).layers for n in (10, 20, 30))
    assert c - 2 * b + a == 2 * 10 * (30**2 - 2 * 20**2 + 10**2)


def test_a_sparse_pattern_costs_less_and_the_paper_charges_it_as_dense() -> None:
    options = {**tiny.OPTIONS["all"], "keep": 2}
    del options["cross_depth"], options["num_bottlenecks"]
    found = {how: count(build("sft", {"rgb": 5}, 3, lengths={"rgb": 400}, sparse=how, **options), {"rgb": 400})
             for how in ("strided", "fixed", "dense", "none")}  # fmt: skip
    assert found["none"].layers < found["strided"].layers < found["dense"].layers
    assert found["none"].layers < found["fixed"].layers < found["dense"].layers
    assert found["strided"].paper == found["fixed"].paper == found["dense"].paper > found["none"].paper


@pytest.mark.parametrize(
    ("method", "options", "slope"),
    [
        ("concat", {}, 2),
        ("sft", {"unimodal_attention": "strided"}, 1.5),
        ("sft", {"unimodal_attention": "local", "sparse": "local"}, 1),
    ],
)
def test_counted_work_grows_with_a_power_of_the_length(method: str, options: dict, slope: float) -> None:
    """On log axes, from 8,192 to 32,768 tokens; what is linear beside it bends the first two down."""
    lengths = 8192, 32768
    found = [count(build(method, {"a": 4}, 2, lengths={"a": n}, **options), {"a": n}).layers for n in lengths]
    assert math.log(found[1] / found[0], 4) == pytest.approx(slope, abs=0.1)


def test_the_paper_shapes_cost_what_is_promised() -> None:
    """GMACs of the layers: at most 0.16 with the paper's layers, 0.05 with no dense attention over raw tokens."""
    throughout = {"sparse": "local", "unimodal_attention": "local"}
    for options, most in (({"sparse": "strided"}, 0.16), (throughout, 0.05)):
        (line,) = ledger(["sft"], {}, {}, 0, {"sft": options}, shapes="vggs")
        assert line.cost.layers / 1e9 <= most


def test_counting_leaves_the_model_as_it_was() -> None:
    model = build("sft", FEATURES, 3, lengths=LENGTHS, **find("sft").TEST).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count(model, LENGTHS)
    measure(model, LENGTHS, batch=2, runs=2)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


class Stock(nn.Module):
    """A layer that applies a function to the one stream of `unimodal`."""

    def __init__(self, function: Callable[[torch.Tensor], object], *modules: nn.Module):
        super().__init__()
        self.function, self.modules_of_torch = function, nn.ModuleList(modules)

    def forward(self, state: State) -> State:
        self.function(state.streams["rgb"].x, *self.modules_of_torch)
        return state


N, D = 8, 10  # 7 tokens and CLS
BLOCK = 4 * N * D * D + 2 * N * N * D
PADDING = torch.zeros(1, N, dtype=torch.bool, device="meta")
STOCK = {
    "attention": (lambda x, m: m(x, x, x), nn.MultiheadAttention(D, 2, batch_first=True), BLOCK),
    "attention without weights": (
        lambda x, m: m(x, x, x, need_weights=False),
        nn.MultiheadAttention(D, 2, batch_first=True),
        BLOCK,
    ),
    "encoder": (
        lambda x, m: m(x, src_key_padding_mask=PADDING),
        nn.TransformerEncoder(nn.TransformerEncoderLayer(D, 2, 16, batch_first=True), 2),
        2 * (BLOCK + 2 * N * D * 16),
    ),
    "lstm": (lambda x, m: m(x), nn.LSTM(D, 3, batch_first=True), N * 4 * 3 * (D + 3)),
    "gru": (lambda x, m: m(x), nn.GRU(D, 3, batch_first=True), N * 3 * 3 * (D + 3)),
    "convolution": (lambda x, m: m(x), nn.Conv1d(N, 6, 3, groups=2), 6 * (D - 2) * (N // 2) * 3),
    "transposed": (lambda x, m: m(x), nn.ConvTranspose1d(N, 6, 3), N * D * 6 * 3),
    "bmm": (lambda x: x.bmm(x.mT), None, N * N * D),
    "mm": (lambda x: x[0].mm(x[0].T), None, N * N * D),
    "in place": (lambda x: x.new_zeros(N, N).addmm_(x[0], x[0].T), None, N * N * D),
    "vector": (lambda x: x[0] @ x[0, 0] + x[0, 0] @ x[0, 1], None, N * D + D),
    "einsum": (lambda x: torch.einsum("bnd,bmd->bnm", x, x), None, N * N * D),
}


@pytest.mark.parametrize("name", STOCK)
def test_what_torch_multiplies_by_itself_is_counted_too(name: str) -> None:
    """Modules of torch's own in a user's method, by hand."""
    function, module, expected = STOCK[name]
    model = build("unimodal", {"rgb": 5}, 3, unimodal_depth=1, dim=D, num_heads=2)
    before = count(model, {"rgb": N - 1}).layers
    model.layers.append(Stock(function, *([] if module is None else [module])))
    assert count(model, {"rgb": N - 1}).layers - before == expected
    assert torch.backends.mha.get_fastpath_enabled(), "the setting is given back"


@pytest.mark.parametrize("function", [torch.fft.rfft, lambda x: torch.cdist(x, x), lambda x: torch.linalg.svd(x[0])])
def test_a_product_that_cannot_be_counted_is_an_error_that_names_it(function) -> None:
    model = build("unimodal", {"rgb": 5}, 3, unimodal_depth=1, dim=D, num_heads=2)
    model.layers.append(Stock(function))
    with pytest.raises(ValueError, match=r"(_fft_r2c|_cdist_forward|_linalg_svd) is not counted; write it as linear"):
        count(model, {"rgb": N - 1})


def test_norms_and_interpolation_are_left_out() -> None:
    model = build("unimodal", {"rgb": 5}, 3, unimodal_depth=1, dim=D, num_heads=2)
    before = count(model, {"rgb": N - 1}).layers
    model.layers.append(Stock(lambda x: nn.functional.interpolate(nn.functional.normalize(x), size=4, mode="linear")))
    assert count(model, {"rgb": N - 1}).layers == before


# By the appendix formula, tokens without CLS; the released counts of clips and of kept tokens.
TABLE = {
    ("vggs", "concat"): 1.715,
    ("vggs", "late"): 1.537,
    ("vggs", "mbt"): 1.541,
    ("vggs", "sft"): 0.259,
    ("mosei", "concat"): 1.184,
    ("mosei", "late"): 0.608,
    ("mosei", "mbt"): 0.611,
    ("mosei", "sft"): 0.105,
}


@pytest.mark.parametrize(("shapes", "method"), TABLE, ids=str)
def test_the_published_table_is_met(shapes: str, method: str) -> None:
    """Layers by the paper's formula within 1 % of the given figures, within 5 % of the printed ones (two digits)."""
    (line,) = ledger([method], {}, {}, 0, {}, shapes=shapes)
    assert line.cost.paper / 1e9 == pytest.approx(TABLE[shapes, method], rel=0.01)
    assert line.reported is not None
    assert line.cost.paper / 1e9 == pytest.approx(line.reported, rel=0.05)


def formula(lengths: list[int], depth: int, dim: int = 40) -> float:
    """Appendix A.2: attention 4 N D^2 + 2 N^2 D, MLP 2 N D^2 + 4 N D."""
    return depth * sum(6 * n * dim**2 + 2 * n * n * dim + 4 * n * dim for n in lengths)


@pytest.mark.parametrize("shapes", ["vggs", "mosei"])
def test_concat_and_late_are_the_appendix_formula(shapes: str) -> None:
    """Exactly: one sequence of all tokens and one CLS, or one with its CLS per modality."""
    lengths = list(PUBLISHED[shapes].lengths.values())
    concat, late = ledger(["concat", "late"], {}, {}, 0, {}, shapes=shapes)
    assert concat.cost.paper == formula([sum(lengths) + 1], 12)
    assert late.cost.paper == formula([n + 1 for n in lengths], 12)


def mult_formula(lengths: list[int], crossed: int, fused: int) -> int:
    """A.2 with queries of one modality and keys of another: 2 N D^2 + 2 M D^2 + 2 N M D; then twice as wide."""
    n_s, total = [n + 1 for n in lengths], 0
    for i, n in enumerate(n_s):
        for m in n_s[:i] + n_s[i + 1 :]:
            total += crossed * (4 * n * 40**2 + 2 * m * 40**2 + 2 * n * m * 40 + 4 * n * 40)
        total += fused * (6 * n * 80**2 + 2 * n * n * 80 + 4 * n * 80)
    return total


@pytest.mark.parametrize("shapes", ["vggs", "mosei"])
def test_the_formula_has_the_papers_mlp_whatever_the_models(shapes: str) -> None:
    """MulT's own MLPs are four times as wide, those of the appendix as wide as the tokens."""
    lengths = list(PUBLISHED[shapes].lengths.values())
    (line,) = ledger(["mult"], {}, {}, 0, {}, shapes=shapes)
    assert line.cost.paper == mult_formula(lengths, 1, 11)
    assert line.cost.layers > line.cost.paper
    wide, narrow = (ledger(["late"], {}, {}, 0, {"late": {"mlp_ratio": ratio}}, shapes=shapes)[0] for ratio in (2, 1))
    assert wide.cost.paper == narrow.cost.paper


def test_no_split_of_mults_layers_gives_both_of_the_papers_figures() -> None:
    """As docs/performance.md says: not even within 10 %, with 1 to 24 crossed layers and 0 to 24 after them."""
    for crossed, fused in product(range(1, 25), range(25)):
        shares = [
            mult_formula(list(study.lengths.values()), crossed, fused) / 1e9 / study.reported["mult"]
            for study in PUBLISHED.values()
        ]
        assert max(abs(share - 1) for share in shares) > 0.1


def test_the_released_parameter_counts_are_met() -> None:
    """Cores of the released modules (ten classes) without their tokenizers; ours has one head for late and MBT too."""
    found = {line.method: line.cost.parameters for line in ledger(["sft", "concat"], {}, {}, 0, {}, shapes="vggs")}
    tokenizers = (1024 * 2 + 128 + 3) * 40 + sum(n + 2 for n in (38, 38, 1200)) * 40
    assert found["concat"] - tokenizers == 119_530
    assert found["sft"] - tokenizers == 159_050


def test_a_missing_length_is_an_error_that_names_it() -> None:
    model = build("late", FEATURES, 3, unimodal_depth=1, dim=10, num_heads=2)
    with pytest.raises(ValueError, match="lengths lacks flow"):
        count(model, {"rgb": 3, "sound": 4})
    with pytest.raises(ValueError, match="--lengths"):
        ledger(["late"], {}, {}, 3, {})
    with pytest.raises(ValueError, match="'sound' needs both"):
        ledger(["late"], {"rgb": 3, "sound": 3}, {"rgb": 3}, 3, {})


def test_the_total_alone_is_that_of_the_whole_count() -> None:
    model = build("sft", FEATURES, 3, lengths=LENGTHS, **find("sft").TEST)
    assert total(model, LENGTHS) == count(model, LENGTHS).total
    assert all(p.device.type == "cpu" for p in model.parameters())
