"""Guest RAM: blocks and what backs them, dirty bitmaps, the dirty log, page contents in bulk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import homes

if TYPE_CHECKING:
    from .backends import (
        BackendKind,
        BackendSpec,
        FileBackend,
        MemfdBackend,
        MemoryBackend,
        PhantomBackend,
        RamBackend,
    )
    from .bitmap import DirtyBitmap
    from .block import RAMBlock, RAMList
    from .dirtylog import DirtyLog
    from .journal import RamJournal
    from .pages import runs, zero_page_mask

__all__ = [
    "BackendKind",
    "BackendSpec",
    "DirtyBitmap",
    "DirtyLog",
    "FileBackend",
    "MemfdBackend",
    "MemoryBackend",
    "PhantomBackend",
    "RAMBlock",
    "RAMList",
    "RamBackend",
    "RamJournal",
    "runs",
    "zero_page_mask",
]

if not TYPE_CHECKING:  # a checker would take it as leave to accept any name
    __getattr__ = homes(
        __name__,
        {
            "spec": ("BackendKind", "BackendSpec"),
            "backends": (
                "FileBackend",
                "MemfdBackend",
                "MemoryBackend",
                "PhantomBackend",
                "RamBackend",
            ),
            "bitmap": ("DirtyBitmap",),
            "block": (
                "RAMBlock",
                "RAMList",
            ),
            "dirtylog": ("DirtyLog",),
            "journal": ("RamJournal",),
            "pages": (
                "runs",
                "zero_page_mask",
            ),
        },
    )
