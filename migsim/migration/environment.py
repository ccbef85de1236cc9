"""What the engines ask of the machine around them.

The engines know no machine, no socket, no clock and no JSON: a machine gives them these few
things, and a test can give them less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..qapi.capabilities import CapabilitySet
    from ..qapi.enums import RunState
    from ..qapi.parameters import MigrationParameters
    from ..qapi.properties import StreamSwitches
    from ..qapi.release import Release
    from ..ram.block import RAMList
    from .notifiers import NotifierLists


class RunControl(Protocol):
    """The guest's run state, as far as migration moves it."""

    state: RunState
    was_suspended: bool
    autostart: bool

    @property
    def live(self) -> bool:
        """Whether the guest is running or suspended."""
        ...

    def set(self, new: RunState) -> None:
        """Change the state, or raise `TransitionError`."""
        ...

    def force(self, new: RunState) -> None:
        """Stop a live guest into ``new`` with STOP; move any other there without."""
        ...

    def start(self) -> None:
        """Start the guest with RESUME: running, or suspended if it was."""
        ...


@dataclass(frozen=True, slots=True)
class SavedSection:
    """The state of one device, encoded.

    Attributes:
        name: section name.
        instance_id: instance of that name.
        version: version of the state description.
        section_id: number under which the device was registered.
        body: the bytes between section header and footer.
        description: entry of the stream's closing description, or None for opaque state.
    """

    name: str
    instance_id: int
    version: int
    section_id: int
    body: bytes
    description: Mapping[str, object] | None


class MachineView(Protocol):
    """The machine, as an engine sees it."""

    @property
    def release(self) -> Release:
        """Which QEMU to behave like."""
        ...

    @property
    def strict(self) -> bool:
        """Whether to report what QEMU does where it misbehaves."""
        ...

    @property
    def machine_name(self) -> str:
        """Concrete machine type."""
        ...

    @property
    def uuid(self) -> bytes | None:
        """Identity of the guest, 16 bytes."""
        ...

    @property
    def parameters(self) -> MigrationParameters:
        """The parameters of this moment; they may change while a migration runs."""
        ...

    @property
    def capabilities(self) -> CapabilitySet:
        """The capabilities; they do not change while a migration runs."""
        ...

    @property
    def run(self) -> RunControl:
        """The guest's run state."""
        ...

    @property
    def ram(self) -> RAMList:
        """All RAM blocks in announcement order."""
        ...

    @property
    def notifiers(self) -> NotifierLists:
        """Who is told about migrations."""
        ...

    def emit(self, name: str, data: Mapping[str, object]) -> None:
        """Emit an event under its QMP name."""
        ...

    @property
    def switches(self) -> StreamSwitches:
        """Properties of the migration object that change the bytes."""
        ...

    @property
    def suppress_vmdesc(self) -> bool:
        """Whether the stream ends without its description."""
        ...

    def wake_guest(self) -> None:
        """Make a suspended guest run again."""
        ...

    def save_sections(self, stored_state: str, was_suspended: bool) -> Sequence[SavedSection]:
        """Return the state of every device, ``globalstate`` with ``stored_state`` last.

        Raises:
            DeviceError: a device refused.
        """
        ...
