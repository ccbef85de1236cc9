"""Guest RAM: blocks and what backs them, dirty bitmaps, the dirty log, page contents in bulk."""

from __future__ import annotations

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
