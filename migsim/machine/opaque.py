"""Devices that came with a stream and are carried as they are.

A machine type whose devices are not modelled takes the sections of a real machine's stream as
bytes, with the numbers and the description they had, and writes them out again unchanged, so that
a real QEMU resumes from what it reads (spec interop.md section 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..guest.devices import Device
from ..vmstate.describe import describe_opaque
from ..vmstate.fields import Field, FieldType, VMStateDescription

if TYPE_CHECKING:
    from ..stream.items import DeviceSection


class OpaqueDevice(Device):
    """The state of one device as bytes.

    Attributes:
        section_id: number of the section in the stream it came from.
        entry: what that stream's description said of it.
    """

    __slots__ = ("entry", "section_id")

    def __init__(self, section: DeviceSection) -> None:
        body = bytes(section.body)
        fields = (Field("data", FieldType.BUFFER, size=len(body)),) if body else ()
        description = VMStateDescription(section.name, section.version, fields)
        values = {"data": body} if body else {}
        super().__init__(section.name, description, dict(values), section.instance_id)
        self.section_id = section.section_id
        self.entry = section.entry

    def save(self) -> tuple[bytes, dict[str, object]]:
        """Return the bytes and the entry that came with them."""
        body = self.values.get("data", b"")
        assert isinstance(body, bytes)
        if self.entry is not None:
            return body, dict(self.entry)
        return body, describe_opaque(self.name, self.instance_id, len(body))
