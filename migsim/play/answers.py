"""What the page asks for, checked, and the migration that answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from ..errors import ParameterError
from ..guest.workloads import Idle, SequentialSweep, Uniform
from ..machine.config import MachineConfig
from ..qapi.enums import Capability, MigMode
from ..ram.backends import BackendKind, BackendSpec, PhantomBackend
from ..recording import Recording, record_migration
from ..units import MIB, PAGE_SIZE
from ..vm import VM

if TYPE_CHECKING:
    from ..guest.workload import Workload

LIMIT_S: Final = 120.0
"""Virtual seconds after which a migration that does not end is no longer watched."""
LOOKS: Final = 240
STRETCHES: Final = 64
_MODES: Final = (MigMode.NORMAL.value, MigMode.CPR_REBOOT.value)
_PATTERNS: Final = ("random", "sweep")


@dataclass(frozen=True, slots=True)
class Wish:
    """A migration to play; every number has a range, which the page's controls take from here.

    Attributes:
        ram_mib: RAM of the guest.
        rate: page writes per second.
        working_set_mib: memory that the writes go to.
        bandwidth_mib: ``max-bandwidth``, MiB per second.
        downtime_ms: ``downtime-limit``.
        mode: ``normal`` or ``cpr-reboot``.
        pattern: ``random`` or ``sweep``.
        throttle: 1 for capability ``auto-converge``.
        shared: 1 for RAM in a shared file that ``x-ignore-shared`` leaves out.
        seed: decides what is random.
    """

    ram_mib: int = 1024
    rate: int = 12_000
    working_set_mib: int = 256
    bandwidth_mib: int = 64
    downtime_ms: int = 300
    mode: str = "normal"
    pattern: str = "random"
    throttle: int = 0
    shared: int = 0
    seed: int = 1

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> Wish:
        """Return the wish in the texts of a query.

        Raises:
            ParameterError: an unknown name, or a value outside its range.
        """
        values: dict[str, Any] = {}
        for name, text in texts.items():
            if name in CHOICES:
                if text not in CHOICES[name]:
                    raise ParameterError(name, text, f"one of {', '.join(CHOICES[name])}")
                values[name] = text
            elif name in RANGES:
                values[name] = _whole(name, text)
            else:
                known = ", ".join(field.name for field in fields(cls))
                raise ParameterError(name, text, f"one of the names {known}")
        return cls(**values)


RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "ram_mib": (64, 8192),
    "rate": (0, 200_000),
    "working_set_mib": (1, 4096),
    "bandwidth_mib": (1, 2048),
    "downtime_ms": (1, 5000),
    "throttle": (0, 1),
    "shared": (0, 1),
    "seed": (0, 1_000_000),
}
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {"mode": _MODES, "pattern": _PATTERNS}


def _whole(name: str, text: str) -> int:
    low, high = RANGES[name]
    expected = f"a whole number from {low} to {high}"
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise ParameterError(name, text[:40], expected)
    if not low <= int(text) <= high:
        raise ParameterError(name, text, expected)
    return int(text)


def play_migration(wish: Wish) -> Recording:
    """Return the recording of the migration that ``wish`` describes."""
    recording = _recorded(wish, 0.1)
    every_s = max(0.002, recording.end_s / LOOKS)
    return _recorded(wish, every_s)


def _recorded(wish: Wish, every_s: float) -> Recording:
    pages = wish.ram_mib * MIB // PAGE_SIZE
    used = min(pages, wish.working_set_mib * MIB // PAGE_SIZE)
    memory = BackendSpec(
        BackendKind.PHANTOM,
        "ram0",
        wish.ram_mib * MIB,
        share=bool(wish.shared),
        mem_path="ram0" if wish.shared else None,
    )
    vm = VM(MachineConfig(memory=memory, workload=_workload(wish, used), seed=wish.seed))
    backend = vm.ram["ram0"].backend
    assert isinstance(backend, PhantomBackend)
    # Half of RAM holds data, and all of what the guest works on.
    backend.nonzero.set_range(0, max(used, pages // 2))
    vm.set_parameters(
        {
            "max-bandwidth": wish.bandwidth_mib * MIB,
            "downtime-limit": wish.downtime_ms,
            "mode": wish.mode,
        }
    )
    wanted = [(Capability.EVENTS.value, True)]
    if wish.throttle and wish.mode == MigMode.NORMAL.value:
        wanted.append((Capability.AUTO_CONVERGE.value, True))
    if wish.shared:
        wanted.append((Capability.X_IGNORE_SHARED.value, True))
    vm.set_capabilities(wanted)
    vm.advance(1.0)
    return record_migration(vm, every_s=every_s, limit_s=LIMIT_S, stretches=STRETCHES)


def _workload(wish: Wish, pages: int) -> Workload:
    if not wish.rate:
        return Idle()
    if wish.pattern == "sweep":
        return SequentialSweep(0, pages - 1, rate_pages_per_s=float(wish.rate))
    return Uniform(0, pages - 1, rate_pages_per_s=float(wish.rate), seed=wish.seed)
