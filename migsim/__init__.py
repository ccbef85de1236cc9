"""QEMU's migration core without QEMU."""

from __future__ import annotations

__version__ = "0.1.0"
