"""Descriptions of memory backends, as options give them; the memory itself comes with `create`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from .memory import MemoryBackend


class BackendKind(enum.StrEnum):
    """The backend types, spelled as QOM spells them; ``phantom`` is migsim's own."""

    RAM = "memory-backend-ram"
    MEMFD = "memory-backend-memfd"
    FILE = "memory-backend-file"
    PHANTOM = "phantom"


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """The description of a backend, as ``-object TYPE,id=...,size=...`` gives it.

    Attributes:
        qom_type: the type.
        id: object id.
        size: size in bytes.
        mem_path: file or directory; for ``memory-backend-file``, which needs it.  Phantom memory
            with it counts as such a file, but nothing is opened or made.
        share: None is the default of the type.
        readonly: for ``memory-backend-file`` only.
        fd: memory that another process handed over, duplicated by `create`; it is mapped instead
            of new memory where the type has memory of its own, and is not kept open.
        in_place: for ``memory-backend-ram`` only: a mapped-ram file that is loaded becomes the
            memory as it is, copied page by page on write, which takes no time; it has to stay
            as it is for as long as the machine lives.
    """

    qom_type: BackendKind
    id: str
    size: int
    mem_path: str | None = None
    share: bool | None = None
    readonly: bool = False
    fd: int | None = None
    in_place: bool = False

    def create(self) -> MemoryBackend:
        """Return a new backend of this description.

        Raises:
            ConfigError: the description does not fit its type, or the backend cannot be made.
        """
        from . import backends  # noqa: PLC0415 - a description alone costs no numpy

        is_file = self.qom_type is BackendKind.FILE
        may_have_path = is_file or self.qom_type is BackendKind.PHANTOM
        misplaced = self.mem_path is not None and not may_have_path
        if misplaced or (is_file and self.mem_path is None) or (self.readonly and not is_file):
            raise ConfigError(
                f"{self.qom_type} {self.id}",
                "mem-path and readonly belong to memory-backend-file, which needs mem-path",
            )
        share = bool(self.share)
        if self.qom_type is BackendKind.PHANTOM:
            named = self.mem_path is not None
            return backends.PhantomBackend(self.id, self.size, share=share, named_file=named)
        if self.in_place and self.qom_type is not BackendKind.RAM:
            raise ConfigError(f"{self.qom_type} {self.id}", "only memory-backend-ram is in_place")
        if self.mem_path is not None:
            return backends.FileBackend(
                self.id, self.size, self.mem_path, share=share, readonly=self.readonly
            )
        if self.qom_type is BackendKind.MEMFD:
            return backends.MemfdBackend(
                self.id, self.size, share=self.share is not False, fd=self.fd
            )
        return backends.RamBackend(
            self.id, self.size, share=share, fd=self.fd, in_place=self.in_place
        )
