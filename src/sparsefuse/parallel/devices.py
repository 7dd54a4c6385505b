"""The device that a user's word stands for."""

import torch


def device_of(device: str) -> str:
    """The device that `auto` stands for on this machine; any other as it is. Raises ValueError if it is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise ValueError(f"unknown device {device[:60]!r}; expected auto, cpu, cuda or cuda:1 ...") from None
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(f"device {device} is not there: PyTorch finds {count} CUDA devices; give auto or cpu")
    return device
