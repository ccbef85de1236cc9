"""Guest RAM in a file, saved as a state file that QEMU takes, and loaded from one.

A machine is made around the RAM, migrates or loads once, and goes away again: the same engines as
everywhere, without a guest that runs.
"""

from __future__ import annotations

import contextlib
import enum
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from .channel.file import FileInput
from .errors import ParameterError
from .machine.config import MachineConfig
from .machine.from_stream import needs_of
from .machine.machine import Machine
from .qapi.enums import Capability, MigMode
from .ram.backends import BackendKind, BackendSpec
from .ram.memory import MappedBackend

Tell: TypeAlias = Callable[[int, int | None], None]
"""Is told how many bytes are done, and of how many."""


class Format(enum.StrEnum):
    """How RAM lies in a state file."""

    PLAIN = "plain"
    MAPPED_RAM = "mapped-ram"


@dataclass(frozen=True, slots=True)
class Moved:
    """What a save or load did.

    Attributes:
        ram_bytes: RAM of the machine.
        file_bytes: length of the state file.
        seconds: from the command to its end; making the machine is not in it.
        normal_pages: pages written with their content; None of a load.
        zero_pages: pages that were zero; None of a load.
    """

    ram_bytes: int
    file_bytes: int
    seconds: float
    normal_pages: int | None = None
    zero_pages: int | None = None

    @property
    def bytes_per_s(self) -> float:
        """Bytes of RAM per second."""
        return self.ram_bytes / max(self.seconds, 1e-9)


def save_ram(
    ram: Path,
    output: Path,
    *,
    machine: str = "none",
    block: str = "ram0",
    form: Format = Format.PLAIN,
    mode: MigMode = MigMode.NORMAL,
    ignore_shared: bool = False,
    prealloc: bool = False,
    tell: Tell | None = None,
) -> Moved:
    """Save the RAM that lies in the file ``ram`` to the state file ``output``.

    Args:
        ram: its length is the machine's RAM; it is only read.
        output: created, or cut and written over.
        machine: type of machine; only ``none`` makes a file that QEMU loads without devices.
        block: name of the RAM block.
        form: plain records, or pages at fixed places.
        mode: normal or cpr-reboot.
        ignore_shared: leave RAM in its file (``x-ignore-shared``).
        prealloc: bring RAM into the page table before the time begins, as QEMU's ``prealloc=on``.
        tell: is told how far it has come.

    Raises:
        ParameterError: ``output`` is the RAM file, or a name that no address can hold.
        MigsimError: the RAM cannot be opened, or the migration failed; a file that was not there
            before is taken away again.
    """
    _check_apart(ram, output)
    spec = BackendSpec(
        BackendKind.FILE, block, _length(ram), mem_path=str(ram), share=True, readonly=True
    )
    with _machine(MachineConfig(machine=machine, memory=spec, start_stopped=True)) as vm:
        wanted = {Capability.MAPPED_RAM: form is Format.MAPPED_RAM}
        wanted[Capability.X_IGNORE_SHARED] = ignore_shared
        vm.set_capabilities([(capability.value, True) for capability, on in wanted.items() if on])
        vm.set_parameters({"max-bandwidth": 0, "mode": mode.value})
        if prealloc:
            for each in vm.ram.migratable():
                if isinstance(each.backend, MappedBackend):
                    each.backend.populate()
        there = output.exists()
        began = time.perf_counter()
        try:
            vm.migrate(f"file:{output}")
            vm.run_until(lambda: _save_over(vm, tell))
            if vm.source.error is not None:
                raise vm.source.error
        except BaseException:
            if not there:
                with contextlib.suppress(OSError):
                    output.unlink()
            raise
        seconds = time.perf_counter() - began
        run = vm.source.run
        assert run is not None
        counters = run.counters
        return Moved(
            vm.ram.total_bytes,
            output.stat().st_size,
            seconds,
            counters.normal,
            counters.duplicate,
        )


def load_ram(
    source: Path,
    ram: Path | None = None,
    *,
    offset: int = 0,
    in_place: bool = False,
    tell: Tell | None = None,
) -> Moved:
    """Load the state file ``source``; its main RAM goes to the file ``ram``.

    Args:
        source: a state file of a machine of any type.
        ram: created sparse where it is missing; None loads into memory that goes away, which
            shows that the file can be loaded.
        offset: byte of the file at which the stream begins.
        in_place: a mapped-ram file becomes the memory itself instead of being read.
        tell: is told how far it has come.

    Raises:
        ParameterError: ``in_place`` with a RAM file, or ``ram`` is the state file.
        MigsimError: the file is malformed or does not fit; RAM is as it was before.
    """
    if in_place and ram is not None:
        raise ParameterError("ram", str(ram), "none: memory that lies in place has no other file")
    if ram is not None:
        _check_apart(source, ram)
    needs = needs_of(source, offset)
    spec = None
    if needs.main is not None:
        name, size = needs.main.name, needs.main.used_bytes
        spec = BackendSpec(BackendKind.RAM, name, size, in_place=in_place)
        if ram is not None:
            spec = BackendSpec(BackendKind.FILE, name, size, mem_path=str(ram), share=True)
    with _machine(needs.config(spec, start_stopped=True)) as vm:
        vm.set_capabilities([(name, True) for name in needs.capabilities])
        began = time.perf_counter()
        size = source.stat().st_size
        vm.load(_Watched(source, offset, size, tell) if tell else FileInput(source, offset))
        return Moved(vm.ram.total_bytes, size, time.perf_counter() - began)


class _Watched(FileInput):
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, offset: int, size_bytes: int, tell: Tell) -> None:
        super().__init__(path, offset)
        self._size = size_bytes
        self._tell = tell

    def read_at(self, position: int, room: memoryview) -> int:
        """Read the bytes at ``position`` into ``room``; 0 is the end."""
        count = super().read_at(position, room)
        self._tell(position + count, self._size)
        return count


@contextlib.contextmanager
def _machine(config: MachineConfig) -> Iterator[Machine]:
    vm = Machine(config)
    try:
        yield vm
    finally:
        vm.kill()


def _save_over(vm: Machine, tell: Tell | None) -> bool:
    run = vm.source.run
    if tell is not None and run is not None and run.transfer is not None:
        sender = run.transfer.sender
        tell((sender.pages - sender.dirty_pages) * 4096, sender.pages * 4096)
    return not vm.source.running


def _length(ram: Path) -> int:
    try:
        return ram.stat().st_size
    except OSError as error:
        raise ParameterError("ram", str(ram), f"a file ({error.strerror})") from error


def _check_apart(first: Path, second: Path) -> None:
    with contextlib.suppress(OSError):
        if os.path.samefile(first, second):
            raise ParameterError("file", str(second), f"another file than {first}")
    if ",offset=" in str(second):
        raise ParameterError("file", str(second), "a name without ',offset='")
