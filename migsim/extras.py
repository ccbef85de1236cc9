"""Optional dependencies: there, or one sentence that names the extra which brings them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Final

from .errors import MissingExtraError

EXTRA_MODULES: Final = {
    "cli": ("typer", "rich"),
    "viz": ("matplotlib",),
    "compress": ("zstandard",),
    "qemu": ("qemu.qmp",),
    "testing": ("hypothesis", "pytest"),
}
"""Top-level modules that each extra brings, as ``pyproject.toml`` declares them."""


def require(extra: str, modules: Iterable[str] | None = None) -> None:
    """Do nothing if the modules of ``extra``, or just ``modules``, can be imported.

    They are looked for, not imported.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    for module in EXTRA_MODULES[extra] if modules is None else modules:
        if not _installed(module):
            raise MissingExtraError(extra, module)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a parent package is missing, or is half there
        return False
