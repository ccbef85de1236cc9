"""Errors at the edge: what the core's typed errors look like in QMP."""

from __future__ import annotations

from ..errors import MigsimError

GENERIC = "GenericError"
COMMAND_NOT_FOUND = "CommandNotFound"
DEVICE_NOT_ACTIVE = "DeviceNotActive"
DEVICE_NOT_FOUND = "DeviceNotFound"


class QmpError(MigsimError):
    """A command was refused by the monitor itself.

    Attributes:
        qmp_class: QMP's error class.
    """

    def __init__(self, text: str, qmp_class: str = GENERIC) -> None:
        self.qmp_class = qmp_class
        super().__init__(text)


def qmp_reply(error: MigsimError) -> dict[str, object]:
    """Return the QMP error reply for ``error``; nearly everything is a GenericError."""
    qmp_class = error.qmp_class if isinstance(error, QmpError) else GENERIC
    return {"error": {"class": qmp_class, "desc": str(error)}}
