"""`sparsefuse env` names what there is, what is missing and how to get it."""

from importlib import metadata
from types import SimpleNamespace

import pytest

from command import call


def test_env_says_what_is_installed_and_how_to_get_the_rest(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    lines = [
        "torch>=2.6",
        "PyYAML>=6",
        "optuna>=5; extra == 'search'",
        'ray>=2; extra == "ray"',
        'no-one>=2; extra == "ray"',
    ]
    lines += ["sparsefuse[ray]; extra == 'all'", "ruff; platform_system == 'Linux' and extra == 'dev'"]
    numbers = {"torch": "2.6.0", "PyYAML": "6.0", "optuna": "5.1", "ray": "2.5"}

    def number(package: str) -> str:
        if package not in numbers:
            raise metadata.PackageNotFoundError(package)
        return numbers[package]

    monkeypatch.setattr(metadata, "requires", lambda _: lines)
    monkeypatch.setattr(metadata, "version", number)
    assert call(monkeypatch, "env") == 0
    said = dict(line.strip().split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert said["packages"] == "torch 2.6.0, PyYAML 6.0"
    assert said["extra search"] == "installed: optuna 5.1"
    assert said["extra ray"] == "not installed, lacks no-one: pip install 'sparsefuse[ray]'"
    assert [name for name in said if name.startswith("extra")] == ["extra search", "extra ray"]


def test_env_lists_every_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["One", "Other"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr(
        "torch.cuda.get_device_properties", lambda i: SimpleNamespace(name=names[i], total_memory=24 * 10**9)
    )
    assert call(monkeypatch, "env") == 0
    assert "CUDA  0: One, 24 GB; 1: Other, 24 GB\n" in capsys.readouterr().out
