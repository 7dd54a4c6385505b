"""What is wanted of a GPU stands beside what was measured; expected values are by hand."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "results"))
import gpu_targets

TABLE = """shape,batch,model,form,mode,ms,event_ms,busy_ms,launches,memory_mb
vggs,24,"concat, PyTorch",eager,eval,10,,,,nan
vggs,24,"concat, PyTorch",graph,eval,8,,,,nan
vggs,24,"concat, PyTorch",compiled,train,30,,,,nan
vggs,24,"concat, PyTorch",eager,train,40,,,,400
vggs,24,sft,eager,eval,9,,,,nan
vggs,24,sft,graph,eval,2,,,,nan
vggs,24,sft,eager,train,12,,,,80
vggs,24,sft,graph,train,6,,,,nan
vggs,256,sft,eager,eval,1,,,,nan
"""
LENGTH = "pattern,tokens,ms,memory_mb\nlocal,4096,1,20\nlocal,16384,4,80\nlocal,1048576,256,5120\n"
TRAINING = "graphs,epoch_ms,steps_ms,busy,label_ms\nnever,90,80,0.3,1.5\nauto,50,40,0.847,1.6\n"
LOADING = "clips,steps,trained\n2000,20,17\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cpu-torch2.13-float32.csv").write_text("shape\n")
    for name, text in {
        "nvidia-h200-torch2.11-bfloat16": TABLE, "nvidia-h200-torch2.11-bfloat16-length": LENGTH,
        "nvidia-h200-training": TRAINING, "nvidia-h200-loading": LOADING,
    }.items():  # fmt: skip
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


def test_the_best_form_is_held_against_the_best_of_the_base(folder: Path) -> None:
    files = gpu_targets.files_in(folder)
    assert files.device == "nvidia-h200-torch2.11-bfloat16"
    page = gpu_targets.page(files)
    assert page.startswith("# nvidia-h200-torch2.11-bfloat16\n\n`bash benchmarks/gpu.sh`\n")
    for line in (
        # 8 / 2, 30 / 6, 400 / 80
        "| vggs | 24 | sft | 4.0 x (4 x) | 5.0 x (4 x) | 5.0 x (4 x) |",
        # nothing to hold it against
        "| vggs | 256 | sft | not measured (6 x) | not measured (6 x) | not measured (5 x) |",
        "| mosei | 24 | mbt | not measured (1 x) | not measured (1 x) | not measured (1 x) |",
        "| local, 4k to 1M tokens: slope of time | 1.00 (1.1 at most) |",
        "| local, 1M tokens: a training step | 5.1 GB (40 GB at most) |",
        "| strided, 4k to 1M tokens: slope of time | not measured (1.1 at most) |",
        "| UTD-MHAD's shapes: device busy in an epoch's steps | 85% (80 %) |",
        "| a clip's arrays to its label, batch 1 | 1.50 ms (less than 2 ms) |",
        "| steps with loading, of those without | 0.85 (0.8) |",
    ):
        assert line in page.splitlines()


def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    (tmp_path / "cpu-torch2.13-float32.csv").write_text("shape\n")
    assert gpu_targets.files_in(tmp_path).device == ""
    rows = [
        line
        for line in gpu_targets.page(gpu_targets.files_in(tmp_path)).splitlines()
        if " (" in line and line[0] == "|" and "wanted" not in line
    ]
    assert [line.count("not measured") for line in rows] == [3] * 12 + [1] * 7
