"""What this installation has and what it can use: for `sparsefuse env`, and for whoever reports a fault."""

import platform
from importlib.metadata import PackageNotFoundError

import torch

from sparsefuse import __version__
from sparsefuse.extras import install_command, requirements, versions
from sparsefuse.layers import ops


def environment() -> dict[str, str]:
    """Name -> text: versions, devices, the backends that compute layers, and the extras."""
    cuda = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    devices = [f"{i}: {device.name}, {device.total_memory / 1e9:.0f} GB" for i, device in enumerate(cuda)]
    return {
        "sparsefuse": __version__,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
        "CUDA": "; ".join(devices) or "none",
        "requested": f"{ops.VARIABLE}={ops.requested()}",
        **{f"backend {name}": text for name, text in ops.status().items()},
        **_packages(),
    }


def _packages() -> dict[str, str]:
    """What is installed of what the core needs, and of each extra."""
    try:
        wanted = requirements()
    except PackageNotFoundError:
        return {"packages": "not known: sparsefuse is imported from a folder, not installed"}
    texts = {}
    for extra, packages in wanted.items():
        found = versions(packages)
        missing = [package for package in packages if package not in found]
        text = ", ".join(f"{package} {found.get(package, 'missing')}" for package in packages)
        if extra:
            lacks = f"not installed, lacks {', '.join(missing)}: {install_command(extra)}"
            text = lacks if missing else f"installed: {text}"
        texts[f"extra {extra}" if extra else "packages"] = text
    return texts
