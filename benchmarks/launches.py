"""What a GPU would launch, counted and compiled without one.

    python benchmarks/launches.py                 kernels of a forward pass and of a training step, by method
    python benchmarks/launches.py --kernels       and what the compiler says of our kernels at these shapes

The models of `benchmarks/gpu.py` run on tensors without contents, which says what PyTorch's operations and our Triton
kernels would be launched with, and that none waits for the device. Loss, clipping and the optimizer are not in it. Of
each kernel: launches at all shapes, registers of a thread, bytes that they spill, shared memory in KB, instructions.
Times are not in it: for these there is `benchmarks/gpu.sh`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from gpu import BASE, CLASSES, MODELS
from sparsefuse.cost.measure import forward, train_step
from sparsefuse.cost.table import PUBLISHED
from sparsefuse.layers import ops
from sparsefuse.layers.ops import backends, tracing, triton
from sparsefuse.layers.ops.triton import block
from sparsefuse.layers.ops.triton import launch as launching
from sparsefuse.methods import build
from sparsefuse.model import FusionModel
from sparsefuse.tokens import Tokens

MODES = {"eval": forward, "train": train_step}
MULTIPROCESSORS = 132  # of an H200
NOTHING = {
    *(
        "view",
        "_unsafe_view",
        "expand",
        "permute",
        "transpose",
        "t",
        "slice",
        "select",
        "unsqueeze",
        "squeeze",
        "split",
    ),
    *("split_with_sizes", "unbind", "detach", "alias", "as_strided", "unfold", "_reshape_alias", "chunk", "diagonal"),
    *("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "unflatten", "flatten", "lift_fresh"),
    *("dropout", "is_same_size", "device", "contiguous", "to", "reshape", "promote_types"),
}
"""operations that launch nothing (or call others that do)"""
WAITING = {"_local_scalar_dense", "nonzero", "item", "is_nonzero", "equal", "unique_consecutive", "_unique2"}
_KINDS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.uint8: "u8", torch.int64: "i64"}


class Launch(NamedTuple):
    """A launch of one of our kernels."""

    kernel: Any
    args: tuple[Any, ...]
    constants: dict[str, Any]

    def compiled(self) -> tuple[dict[str, str], dict[Any, Any], dict[Any, Any]]:
        """What the compiler is told: types by name, constants by place, and what 16 divides."""
        values = {**dict(zip(self.kernel.arg_names, self.args, strict=False)), **self.constants}
        types, fixed, even = {}, {}, {}
        for i, parameter in enumerate(self.kernel.params):
            name, value = parameter.name, values[parameter.name]
            special = not parameter.do_not_specialize
            if parameter.is_constexpr or (special and type(value) is int and value == 1):
                types[name], fixed[i,] = "constexpr", value
                continue
            where = value.storage_offset() * value.element_size() if isinstance(value, Tensor) else value
            types[name] = "*" + _KINDS[value.dtype] if isinstance(value, Tensor) else _number(value)
            if special and not isinstance(value, float) and where % 16 == 0:
                even[i,] = [["tt.divisibility", 16]]
        return types, fixed, even


class Operations(TorchDispatchMode):
    """Counts PyTorch's operations that launch something."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[1]
        if name in WAITING:
            raise RuntimeError(f"{name} waits for the device")
        if name not in NOTHING:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--kernels", action="store_true", help="compile ours too")
    parser.add_argument("--capability", type=int, default=90, help="of the GPU to compile for")
    options = parser.parse_args()
    ours: dict[str, list[Launch]] = {}
    print("| shape | method | eval: PyTorch | ours | train: PyTorch | ours |\n|:--|:--|--:|--:|--:|--:|")
    for shape in PUBLISHED:
        for name in MODELS:
            cells = [shape, name]
            for mode in MODES:
                operations, launches = counted(shape, name, mode, options.batch)
                cells += [str(operations.total()), str(len(launches))]
                for launch in launches:
                    ours.setdefault(f"{launch.kernel.__name__} {launch.compiled()}", []).append(launch)
            print(f"| {' | '.join(cells)} |", flush=True)
    if options.kernels:
        print("\n| kernel | launches | registers | spilled | KB | instructions |\n|:--|--:|--:|--:|--:|--:|")
        for launches in ours.values():
            print(
                f"| {_title(launches[0])} | {len(launches)} | {compiled(launches[0], options.capability)} |", flush=True
            )


def counted(shape: str, name: str, mode: str, batch: int) -> tuple[Counter[str], list[Launch]]:
    """PyTorch's operations, and our launches, of one pass of a model at the shapes of a study, in bfloat16.

    Raises RuntimeError for an operation that waits for the device.
    """
    study, (method, own) = PUBLISHED[shape], MODELS[name]
    given = {**study.options, "sft": {"keep": study.options["sft"]["keep"]}}.get(method, {})
    model = build(method, study.features, CLASSES[shape], lengths=study.lengths, **given, **own)
    return counted_of(model, study.lengths, mode, batch, pytorch=name == BASE)


def counted_of(
    model: FusionModel, lengths: Mapping[str, int], mode: str, batch: int, *, pytorch: bool = False
) -> tuple[Counter[str], list[Launch]]:
    """The same of a model and clips of `lengths`; `pytorch`: by the definition alone."""
    launches: list[Launch] = []
    with FakeTensorMode(allow_non_fake_inputs=True), ExitStack() as stack:
        _empty(model)
        clips = {
            name: Tokens(torch.empty(batch, lengths[name], width), torch.empty(batch, lengths[name], dtype=torch.bool))
            for name, width in model.features.items()
        }
        stack.enter_context(ops.backend("torch") if pytorch else _as_on_a_gpu(launches))
        stack.enter_context(torch.autocast("cpu", torch.bfloat16))
        operations = stack.enter_context(Operations())
        MODES[mode](model, clips)
    return operations.counts, launches


def _empty(model: nn.Module) -> None:
    """Gives a model weights without contents."""
    for module in model.modules():
        for name, weight in [*module._parameters.items()]:
            if weight is not None:
                module._parameters[name] = nn.Parameter(torch.empty(weight.shape))
        for name, buffer in [*module._buffers.items()]:
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


@contextmanager
def _as_on_a_gpu(launches: list[Launch]) -> Iterator[None]:
    """Chooses our kernels, as on CUDA, and notes them in place of launching them."""

    def note(kernel: Any, grid: Any, *args: Any, **constants: Any) -> None:
        launches.append(Launch(kernel, args, constants))

    assert triton.SUPPORTS  # all of its modules are there
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(block, "programs", lambda tiles, x: min(tiles, MULTIPROCESSORS)))
        stack.enter_context(
            mock.patch.object(block, "type", return_value=nn.Parameter, create=True)
        )  # of an empty tensor
        stack.enter_context(mock.patch.object(backends, "_own", return_value="triton"))
        stack.enter_context(mock.patch.object(triton, "unavailable", return_value=""))
        each_has_it = (
            ("all_real", tracing.all_real, lambda x: False),
            ("intercepted", tracing.intercepted, lambda x: False),
            ("launch", launching.launch, note),
        )
        for name, its_own, here in each_has_it:
            for module in [*sys.modules.values()]:
                if module.__name__.startswith("sparsefuse.") and vars(module).get(name) is its_own:
                    stack.enter_context(mock.patch.object(module, name, here))
        yield


def compiled(launch: Launch, capability: int) -> str:
    """Registers, spilled bytes, KB of shared memory and instructions of a kernel, as cells of a table."""
    from triton import compile as compile_kernel
    from triton.backends import nvidia
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types, fixed, even = launch.compiled()
    source = ASTSource(fn=launch.kernel, signature=types, constexprs=fixed, attrs=even)
    given = {"num_warps": launch.constants.get("num_warps", 4), "num_stages": launch.constants.get("num_stages", 3)}
    made = compile_kernel(source, target=GPUTarget("cuda", capability, 32), options=given)
    tools = Path(nvidia.__file__).parent / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run([str(tools / tool), *flags, file.name], capture_output=True, text=True, check=True).stdout
            for tool, *flags in (("cuobjdump", "-res-usage"), ("nvdisasm",))
        )
    (registers,), (spilled,) = (re.findall(rf"{name}:(\d+)", usage) for name in ("REG", "STACK"))
    instructions = len(re.findall(r"/\*[0-9a-f]{4,5}\*/", code))
    return f"{registers} | {spilled} | {made.metadata.shared / 1024:.0f} | {instructions}"


def _number(value: float) -> str:
    return "fp32" if isinstance(value, float) else "i32"


def _title(launch: Launch) -> str:
    """The kernel, its pattern and sizes."""
    kinds = ("DENSE", "STRIDED", "FIXED", "NEAR", "RESIDUE", "LOCAL", "FAR")  # by their numbers
    constants, words = launch.constants, [launch.kernel.__name__]
    if "PATTERN" in constants:
        words.append(kinds[constants["PATTERN"]] + " backward" * constants.get("GRADIENT", False))
    words += [f"{name} {constants[name]}" for name in ("D", "E", "TN", "BM", "BN") if name in constants]
    return " ".join(words)


if __name__ == "__main__":
    main()
