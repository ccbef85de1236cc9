"""The machine as its engines see it: what they ask of it and tell it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import DeviceError
from ..migration.modes import POLICIES
from ..qapi.enums import Capability, MigMode
from .parts import MachineParts
from .process import ProcessExit

if TYPE_CHECKING:
    from ..guest.devices import Device
    from ..migration.environment import SavedSection
    from ..ram.block import RAMBlock
    from ..stream.items import DeviceSection


class EngineView(MachineParts):
    """Implements the views of ``migration`` (``MachineView``, ``LoaderView``, ``IncomingView``)."""

    def save_sections(self, stored_state: str, was_suspended: bool) -> Sequence[SavedSection]:
        """Return the state of every device; for the sending engine."""
        if self.restless:
            raise DeviceError(self.restless[0], "inactivate", "the drive cannot be put to rest")
        store = self.switches.store_global_state
        return self.devices.save(
            stored_state, was_suspended=was_suspended, store_global_state=store
        )

    def find_device(self, name: str, instance_id: int) -> Device | None:
        """Return the device of that section, or None; for the loader."""
        return self.devices.find(name, instance_id)

    @property
    def adopts_devices(self) -> bool:
        """Whether devices of a stream that are not modelled are carried; for the loader.

        A machine ``none`` has no devices of its own, so a section that it does not know is wrong;
        so it is for one all of whose devices are known.
        """
        known = self.config.board is not None and self.config.board_is_complete
        return self.machine_name != "none" and not known

    def expects_pages(self, block: RAMBlock) -> bool:
        """Whether a stream that comes in may have pages of ``block``; for the loader.

        A process that was handed memory is in cpr-transfer, whatever its parameter says.
        """
        ignore = Capability.X_IGNORE_SHARED in self.capabilities
        mode = MigMode.CPR_TRANSFER if self.config.handed_over else self.parameters.mode
        policy = POLICIES.get(mode)
        return policy is None or policy.copies(block, ignore_shared=ignore)

    def adopt_devices(self, sections: Sequence[DeviceSection]) -> None:
        """Carry the devices of a stream from now on; for the loader."""
        self.devices.adopt(sections)

    def guest_arrived(self) -> None:
        """Let the guest go on from what was loaded, asleep or not; for the receiving engine."""
        self.guest.arrived(suspended=self.run.was_suspended)

    def load_failed(self, *, exit_on_error: bool) -> None:
        """End the process if a failed load is to do that; for the receiving engine."""
        if exit_on_error:
            self.end_process(ProcessExit(1, f"incoming migration failed: {self.incoming.error}"))
