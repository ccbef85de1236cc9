"""What is walked through: a guest, where its RAM lies, and how long things take."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ParameterError
from ..guest.workloads import Uniform
from ..host import RamKind
from ..machine.config import MachineConfig
from ..ram.backends import BackendKind, BackendSpec
from ..units import GIB, KIB, MIB, PAGE_SIZE

RAM_ID = "ram0"
"""Id of the memory backend, which is also the name of the RAM block."""
RAM_MIN_BYTES, RAM_MAX_BYTES = MIB, 4 * GIB
RATE_MAX_PAGES_PER_S = 1e6
SEED_END = 1 << 64


@dataclass(frozen=True, slots=True)
class Scenario:
    """The guest of a walk-through; the same seed and values give the same result.

    Attributes:
        ram_bytes: guest RAM, whole pages from 1 MiB to 4 GiB; it consists of real bytes.
        rate_pages_per_s: page writes per second, each to a random page.
        seed: which pages those are.
        ram_kind: what the RAM lies in, which decides whether it survives the reboot.
        boot_s: how long the guest runs before anything else happens.
        reboot_s: from the end of the old kernel to a shell on the new one; a guess, and nothing
            that is measured depends on it.
        after_s: how long the guest goes on at the end.
        limit_s: a save in mode normal that is not done after this time is cancelled.

    Raises:
        ParameterError: a value is out of range.
    """

    ram_bytes: int = 128 * MIB
    rate_pages_per_s: float = 25_000.0
    seed: int = 0
    ram_kind: RamKind = RamKind.TMPFS_PKRAM
    boot_s: float = 2.0
    reboot_s: float = 6.0
    after_s: float = 1.0
    limit_s: float = 10.0

    def __post_init__(self) -> None:
        ram, rate = self.ram_bytes, self.rate_pages_per_s
        if not RAM_MIN_BYTES <= ram <= RAM_MAX_BYTES or ram % PAGE_SIZE:
            raise ParameterError("ram", ram, "whole pages of 4 KiB, from 1 MiB to 4 GiB")
        if not 0 <= rate <= RATE_MAX_PAGES_PER_S:
            raise ParameterError("rate", rate, "0 to 1000000 page writes per second")
        if not 0 <= self.seed < SEED_END:
            raise ParameterError("seed", self.seed, "a number from 0 to 2^64 - 1")
        for name in ("boot_s", "reboot_s", "after_s", "limit_s"):
            if not 0 < getattr(self, name) <= 3600:
                raise ParameterError(name, getattr(self, name), "up to 3600 seconds, and above 0")

    def workload(self) -> Uniform:
        """Return the guest's workload, at its beginning.

        Every write puts its own number, counted from 1, into the page: the guest counts in RAM.
        """
        last = self.ram_bytes // PAGE_SIZE - 1
        return Uniform(0, last, rate_pages_per_s=self.rate_pages_per_s, seed=self.seed)

    def config(self, memory: BackendSpec, *, incoming: bool = False) -> MachineConfig:
        """Return the machine of one window: type ``none``, so that a real QEMU loads its stream."""
        return MachineConfig(
            memory=memory,
            workload=self.workload(),
            incoming="defer" if incoming else None,
            seed=self.seed,
        )

    def private_memory(self) -> BackendSpec:
        """Return RAM of the process alone, which every mode has to copy."""
        return BackendSpec(BackendKind.RAM, RAM_ID, self.ram_bytes)


def command_line(memory: BackendSpec, *, incoming: bool = False) -> tuple[str, ...]:
    """Return the options of a real ``qemu-system-x86_64`` for the machine of `Scenario.config`."""
    size = size_option(memory.size)
    backend = [memory.qom_type.value, f"id={memory.id}", f"size={size}"]
    if memory.mem_path is not None:
        backend.append(f"mem-path={memory.mem_path.replace(',', ',,')}")
    if memory.share:
        backend.append("share=on")
    options = ["-machine", f"none,memory-backend={memory.id}", "-m", size]
    options += ["-object", ",".join(backend)]
    if incoming:
        options += ["-incoming", "defer"]
    return tuple(options)


def size_option(size_bytes: int) -> str:
    """Return a size as QEMU's options take it: ``128M``, or ``1028k`` when it is not whole."""
    for suffix, unit in (("G", GIB), ("M", MIB)):
        if size_bytes % unit == 0:
            return f"{size_bytes // unit}{suffix}"
    return f"{size_bytes // KIB}k"
