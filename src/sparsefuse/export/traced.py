"""A program as PyTorch traces it: for any batch and any sizes."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from sparsefuse.files.whole import replacing


class Traceable(nn.Module):
    """A module that can become a file."""

    @property
    @abstractmethod
    def input_names(self) -> list[str]:
        """The names of the arguments."""

    @property
    @abstractmethod
    def output_names(self) -> list[str]:
        """The names of the outputs."""

    @property
    @abstractmethod
    def free_axes(self) -> Mapping[str, tuple[str, ...]]:
        """Argument or output -> names of its first axes, which may have any size; equal names, equal sizes."""

    @abstractmethod
    def example(self) -> tuple[Tensor, ...]:
        """Arguments, in which axes of different names differ."""


def traced(program: Traceable) -> ExportedProgram:
    """The graph of the program. Raises ValueError if the method cannot be traced for any batch and any sizes."""
    axes = program.free_axes
    free = tuple(dict.fromkeys(range(len(axes[name])), Dim.DYNAMIC) for name in program.input_names)
    try:
        with torch.no_grad():
            return torch.export.export(program.eval(), program.example(), dynamic_shapes=(free,), strict=False)
    except (torch._dynamo.exc.UserError, RuntimeError) as error:  # pyright: ignore[reportAttributeAccessIssue]
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"the model cannot be traced for any batch and any sizes: {reason}") from error


def write_pt2(program: Traceable, path: Path) -> None:
    """Writes the program for torch.export.load; it needs PyTorch, but not this library."""
    with replacing(path) as temporary:
        torch.export.save(traced(program), temporary)
