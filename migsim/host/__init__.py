"""The host under the machines: what RAM lies in, what survives which event, and what was lost."""

from .holdings import Process
from .host import Host
from .liveupdate import SessionState
from .mounts import MOUNTS
from .survival import SURVIVAL, SURVIVES, Fate, HostEvent, Loss, RamKind, SurvivalRow

__all__ = [
    "MOUNTS",
    "SURVIVAL",
    "SURVIVES",
    "Fate",
    "Host",
    "HostEvent",
    "Loss",
    "Process",
    "RamKind",
    "SessionState",
    "SurvivalRow",
]
