"""Builds the C++ libraries into the wheel; without a compiler the wheel is one of Python alone, and says why."""

import importlib.util
import shutil
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = "sparsefuse/layers/ops/native"


class NativeHook(BuildHookInterface):
    """The hook that pyproject.toml names."""

    PLUGIN_NAME = "custom"
    made: Path | None = None
    """where libraries for a wheel are until it is written"""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Libraries in `lib/` of the checkout for an editable install, else in the wheel alone."""
        native = Path(self.root, "src", NATIVE)
        build = _module(native / "build.py")
        editable = version == "editable"
        folder = native / "lib"
        if not editable:
            self.made = folder = Path(tempfile.mkdtemp(prefix="sparsefuse-"))
            build_data["force_include"][str(folder)] = f"{NATIVE}/lib"
        try:
            about = build.build(folder, seconds=build.WHEEL_SECONDS)
            glibc = build.glibc(folder / entry["file"] for entry in about["libraries"].values())
        except build.NotBuilt as error:
            for path in folder.glob("*.so"):
                path.unlink()
            build.write_manifest(folder, {"reason": str(error)})
            self.app.display_warning(f"sparsefuse is built without C++, and so slower: {error}")
            return
        if not editable:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-manylinux_2_{glibc}_x86_64"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.made is not None:
            shutil.rmtree(self.made)


def _module(path: Path) -> ModuleType:
    """A module of the package, without the package: what that needs is not installed here."""
    spec = importlib.util.spec_from_file_location("sparsefuse_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
