"""What each stage of an outgoing migration does, by kind of migration."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..qapi.enums import Capability
from . import completion, postcopy, precopy, snapshot
from .run import PhaseStep, Stage

if TYPE_CHECKING:
    from .environment import MachineView

PRECOPY: Mapping[Stage, PhaseStep] = MappingProxyType(
    {
        Stage.SETUP: precopy.set_up,
        Stage.ACTIVATE: precopy.activate,
        Stage.ITERATE: precopy.iterate,
        Stage.PRE_SWITCHOVER: completion.wait_for_continue,
        Stage.FINAL_SYNC: completion.final_sync,
        Stage.FINAL_RAM: completion.final_ram,
        Stage.DEVICES: completion.devices,
        Stage.FINISH: completion.finish,
        Stage.HAND_OFF: postcopy.hand_off,
        Stage.POSTCOPY: postcopy.iterate,
        Stage.POSTCOPY_END: postcopy.end,
        Stage.POSTCOPY_FINISH: postcopy.wait_for_shut,
        Stage.PAUSED: postcopy.wait_for_resume,
        Stage.RECOVER: postcopy.recover,
    }
)
"""Passes over RAM while the guest runs, then everything else."""


SNAPSHOT: Mapping[Stage, PhaseStep] = MappingProxyType(
    {
        Stage.SETUP: snapshot.set_up,
        Stage.ACTIVATE: snapshot.freeze,
        Stage.DEVICES: snapshot.keep_devices,
        Stage.ITERATE: snapshot.iterate,
        Stage.FINISH: snapshot.finish,
    }
)
"""One moment, saved while the guest goes on."""


def phases_for(vm: MachineView) -> Mapping[Stage, PhaseStep]:
    """Return the steps of a migration that begins with the settings of this moment."""
    return SNAPSHOT if Capability.BACKGROUND_SNAPSHOT in vm.capabilities else PRECOPY
