"""Streams of machines ``none`` with known content, whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from ...channel.memory import MemoryOutput
from ...guest.synthetic import counter_device
from ...machine.config import MachineConfig
from ...qapi.enums import MigMode
from ...ram.backends import BackendKind, BackendSpec
from ...units import PAGE_SIZE
from ...vm import VM
from .guests import GuestPlan, guest_plans
from .vocabulary import releases

if TYPE_CHECKING:
    from ...qapi.capabilities import CapabilitySet
    from ...qapi.release import Release

FORMS = ((), ("mapped-ram",), ("xbzrle",), ("background-snapshot",))
"""Capabilities that decide about the form of RAM in a file."""


@dataclass(frozen=True, slots=True)
class SavedStream:
    """A stream and what it was saved from.

    Attributes:
        data: the bytes.
        guest: the guest; its RAM block is ``ram0``, beside one counter device.
        release: of the machine that saved it.
        capabilities: names of those that were on; a target needs them too.
        ram_sha256: of the RAM that a load has to bring about, by block name.
    """

    data: bytes
    guest: GuestPlan
    release: Release
    capabilities: tuple[str, ...]
    ram_sha256: dict[str, str]

    def target(self) -> VM:
        """Return a machine that waits for this stream and has the same shape."""
        return _machine(self.guest, self.release, self.capabilities, incoming="defer")


@st.composite
def streams(draw: st.DrawFn) -> SavedStream:
    """Return what a small machine saved while its guest ran, in every form that a file can have."""
    release = draw(releases())
    guest = draw(guest_plans(kinds=("idle", "sweep", "hot")))
    known = _machine(guest, release).capabilities
    forms = [form for form in FORMS if _has(known, form)]
    capabilities = draw(st.sampled_from(forms))
    mode = MigMode.NORMAL if capabilities else draw(st.sampled_from([MigMode.NORMAL, "cpr-reboot"]))
    with _machine(guest, release, capabilities) as vm:
        guest.content.put_into(vm.ram["ram0"])
        vm.set_parameters({"mode": str(mode)})
        out = MemoryOutput()
        if "background-snapshot" in capabilities:
            vm.stop()  # the moment that is saved is the one that is there at the end
        vm.migrate(out)
        vm.run_until(lambda: not vm.source.running)
        if vm.source.error is not None:
            raise vm.source.error
        return SavedStream(out.getvalue(), guest, release, capabilities, vm.ram_sha256())


def _machine(
    guest: GuestPlan, release: Release, capabilities: tuple[str, ...] = (), **more: str
) -> VM:
    memory = BackendSpec(BackendKind.RAM, "ram0", guest.pages * PAGE_SIZE)
    config = MachineConfig(
        memory=memory,
        devices=(counter_device(value=7),),
        workload=guest.workload.make(),
        release=release,
        incoming=more.get("incoming"),
    )
    vm = VM(config)
    vm.set_capabilities([(name, True) for name in capabilities])
    return vm


def _has(known: CapabilitySet, names: tuple[str, ...]) -> bool:
    there = {str(entry["capability"]) for entry in known.query()}
    return there.issuperset(names)
