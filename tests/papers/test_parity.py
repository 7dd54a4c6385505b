"""results/parity.py on a restatement of the released classes: their names, nothing else of theirs."""

import importlib.util
from pathlib import Path

import pytest

TOKENIZERS = """
import torch
from torch import nn
from models.position_embedding import math


class FeatureTokenizer(nn.Module):
    def __init__(self, length, width, dim):
        super().__init__()
        assert math.sqrt(dim) > 0
        self.proj, self.cls_token = nn.Linear(width, dim), nn.Parameter(torch.randn(1, 1, dim))
        self.pos_embedding = nn.Parameter(torch.randn(1, length + 1, dim))

    def forward(self, x):
        tokens = torch.cat([self.cls_token.expand(len(x), 1, -1), self.proj(x)], 1)
        return (tokens + self.pos_embedding).transpose(0, 1)
"""
NETWORK = """
import torch
import torch.nn.functional as F
from torch import nn
from fairseq.modules.sparse_multihead_attention import SparseMultiheadAttention


class SparseFusionTransformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, dim, heads = config, config.embed_dim, config.n_heads
        names = ("rgb", "spec", "text")
        for part, depth in [(n, config.n_layers_pre_fusion) for n in names] + [("fused", config.n_layers_post_fusion)]:
            setattr(self, f"attns_{part}", nn.ModuleList(nn.MultiheadAttention(dim, heads) for _ in range(depth)))
            mlps = [[nn.LayerNorm(dim), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim)] for _ in range(depth)]
            setattr(self, f"mlps_{part}", nn.ModuleList(nn.Sequential(*mlp) for mlp in mlps))
        self.sparse_attn = nn.ModuleList(SparseMultiheadAttention(dim, heads) for _ in names)
        self.classifier = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, config.n_classes))

    def forward(self, *streams):
        cls, kept = 0, []
        for m, (part, z) in enumerate(zip(("rgb", "spec", "text"), streams)):
            z = self.through(z, getattr(self, f"attns_{part}"), getattr(self, f"mlps_{part}"))
            z = self.attended(z, self.sparse_attn[m])
            cls = cls + z[:1]
            pool = F.max_pool1d if self.config.pool_type == "max" else F.avg_pool1d
            kept.append(pool(z[1:].permute(1, 2, 0), self.config.kernel_sz[m]).permute(2, 0, 1))
        z = self.through(torch.cat([cls, *kept]), self.attns_fused, self.mlps_fused)
        return self.classifier(z[0])

    def through(self, z, attentions, mlps):
        for attention, mlp in zip(attentions, mlps):
            z = self.attended(z, attention)
            z = z + mlp(z)
        return z

    def attended(self, z, attention):
        n = F.layer_norm(z, z.shape[-1:])
        return z + attention(n, n, n)[0]
"""


@pytest.fixture
def parity(monkeypatch: pytest.MonkeyPatch):
    path = Path(__file__).parents[2] / "results" / "parity.py"
    spec = importlib.util.spec_from_file_location("parity", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "parity", module)
    spec.loader.exec_module(module)
    setting = module.Setting(
        {"rgb": 6, "sound": 4, "flow": 5}, {"rgb": 8, "sound": 24, "flow": 8}, {"rgb": 3, "sound": 6, "flow": 3}, 4
    )
    monkeypatch.setattr(module, "SETTINGS", {"tiny": setting})
    monkeypatch.setattr(module, "FUSED", 2)
    return module


def authors(folder: Path, network: str = NETWORK) -> Path:
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "tokenizers.py").write_text(TOKENIZERS)
    (folder / "models" / "sparse_fusion_transformer.py").write_text(network)
    return folder


def rows(parity, folder: Path) -> dict[tuple[str, str], tuple[float, float]]:
    parity.main(folder, "a restatement", folder / "parity.md")
    table = [line.split("|")[1:-1] for line in (folder / "parity.md").read_text().splitlines() if "tiny" in line]
    return {(how.strip(), tail.strip()): (float(apart), float(grad)) for _, how, tail, _, apart, grad in table}


def test_without_the_tail_ours_is_the_released_model(parity, tmp_path: Path) -> None:
    found = rows(parity, authors(tmp_path / "sft"))
    for how in ("max", "avg"):
        assert max(found[how, "drop"]) < 5e-6
        assert min(found[how, "keep"]) > 1e-3
    assert "Theirs: a restatement." in (tmp_path / "sft/parity.md").read_text()


def test_another_model_is_apart(parity, tmp_path: Path) -> None:
    other = NETWORK.replace("cls = cls + z[:1]", "cls = z[:1]")  # CLS of the last modality alone
    assert rows(parity, authors(tmp_path / "sft", other))["avg", "drop"][0] > 1e-3


def test_a_number_that_is_not_there_is_an_error(parity, tmp_path: Path) -> None:
    less = NETWORK.replace("self.sparse_attn = nn", "self.other = nn").replace("self.sparse_attn[m]", "self.other[m]")
    with pytest.raises(AttributeError, match="sparse_attn"):
        rows(parity, authors(tmp_path / "sft", less))
