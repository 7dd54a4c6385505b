"""The program as PyTorch traces it: for any batch and any lengths."""

from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from sparsefuse.export.program import Program
from sparsefuse.files.whole import replacing


def traced(program: Program) -> ExportedProgram:
    """The graph of the program. Raises ValueError if the method cannot be traced for any batch and any lengths."""
    example = program.example()
    free = tuple(dict.fromkeys(range(min(x.ndim, 2)), Dim.DYNAMIC) for x in example)
    try:
        with torch.no_grad():
            return torch.export.export(program.eval(), example, dynamic_shapes=(free,), strict=False)
    except (torch._dynamo.exc.UserError, RuntimeError) as error:  # pyright: ignore[reportAttributeAccessIssue]
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"the model cannot be traced for any batch and any lengths: {reason}") from error


def write_pt2(program: Program, path: Path) -> None:
    """Writes the program for torch.export.load; it needs PyTorch, but not this library."""
    with replacing(path) as temporary:
        torch.export.save(traced(program), temporary)
