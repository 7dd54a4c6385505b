from collections.abc import Callable

import numpy as np
import pytest

from sparsefuse.data.manifest import Manifest, read_manifest
from sparsefuse.files.rows import write_table

Clips = Callable[..., Manifest]


@pytest.fixture
def clips(tmp_path) -> Clips:
    """Writes .npy files and a manifest: `clips([{"id": .., "label": .., "rgb": array or text}, ...])`."""

    def write(rows: list[dict]) -> Manifest:
        cells = []
        for row in rows:
            cells.append({})
            for name, value in row.items():
                if isinstance(value, np.ndarray):
                    np.save(tmp_path / f"{name}_{row['id']}.npy", value)
                    value = f"{name}_{row['id']}.npy"
                cells[-1][name] = value
        return read_manifest(write_table(tmp_path / "manifest.csv", cells))

    return write
