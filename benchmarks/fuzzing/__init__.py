"""What benchmarks/fuzz.py tries: a file a target, named as on the command line."""

import pkgutil


def targets() -> list[str]:
    """All of them; a name that begins with _ is none."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
