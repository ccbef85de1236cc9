"""Devices, images and connections of a command line, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from ..channel.addresses import parse_address
from ..channel.uri import ChannelAddress, parse_uri

if TYPE_CHECKING:
    from .schema import Value


@dataclass(frozen=True, slots=True)
class DeviceOption:
    """``-device``, or a device that another option implies.

    Attributes:
        driver: model name; aliases are resolved.
        id: given id, or None.
        bus: given bus, or None.
        properties: the others, by name: text, or JSON values.
        option: the option it came from, for messages.
    """

    driver: str
    id: str | None
    bus: str | None
    properties: Mapping[str, object]
    option: str = "-device"

    def text(self, name: str) -> str | None:
        """Return a property as text, or None when it is not given."""
        value = self.properties.get(name)
        if isinstance(value, bool):
            return "on" if value else "off"
        return None if value is None else str(value)


@dataclass(frozen=True, slots=True)
class BlockNode:
    """A node of the block layer: a format, a filter, or a protocol.

    Attributes:
        driver: its driver; None for a format that has to be probed.
        filename: the file or directory, for drivers that have one.
        name: given node name, or None.
        children: nodes below it by role (``file``, ``backing`` ...): nodes, or names of nodes.
        options: all other options.
        read_only: opened for reading only.
    """

    driver: str | None
    filename: str | None = None
    name: str | None = None
    children: Mapping[str, BlockNode | str] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class DriveOption:
    """``-drive``, ``-hda``, ``-cdrom`` ...: a block node with a place in the machine.

    Attributes:
        id: given or derived id (``ide0-hd0``).
        interface: ``none``, ``ide``, ``virtio`` ...
        bus, unit: the place.
        node: what is opened; None for an empty drive.
        media: ``disk`` or ``cdrom``.
        snapshot: written to a temporary file instead.
        option: the option it came from, for messages.
    """

    id: str
    interface: str
    bus: int
    unit: int
    node: BlockNode | None
    media: str = "disk"
    snapshot: bool = False
    option: str = "-drive"


@dataclass(frozen=True, slots=True)
class Chardev:
    """A character device: ``-chardev``, or the short form that ``-qmp`` and others take.

    Attributes:
        id: its id, made up for short forms.
        backend: ``socket``, ``file``, ``null``, ``stdio`` ...
        properties: the others by name; switches are bool, numbers int, the rest text.
        option: the option it came from, for messages.
    """

    id: str
    backend: str
    properties: Mapping[str, str | int | bool]
    option: str = "-chardev"

    @property
    def mux(self) -> bool:
        """Whether several can use it at once."""
        return self.properties.get("mux") is True


class MonitorMode(StrEnum):
    """Language of a monitor."""

    CONTROL = "control"
    READLINE = "readline"


@dataclass(frozen=True, slots=True)
class MonitorOption:
    """A monitor on the character device called ``chardev``."""

    chardev: str
    mode: MonitorMode
    pretty: bool = False
    id: str | None = None


@dataclass(frozen=True, slots=True)
class IncomingChannel:
    """One ``-incoming`` other than ``defer``.

    Attributes:
        uri: as given, or None for a channel in JSON or ``key=value`` form.
        address: the address of such a channel, as ``migrate-incoming`` takes it; else None.
    """

    uri: str | None
    address: Mapping[str, Value] | None = None

    def parsed(self) -> ChannelAddress:
        """Return where it is; raises ParameterError for a malformed URI."""
        if self.address is not None:
            return parse_address(self.address)
        return parse_uri(self.uri or "")


@dataclass(frozen=True, slots=True)
class IncomingOption:
    """All ``-incoming`` together; the last one for each type of channel counts.

    Attributes:
        main: where the stream comes from; None for ``defer``, or when only cpr was given.
        cpr: where descriptors come from before the machine is built, or None.
        deferred: ``defer`` was the last word about the main channel.
    """

    main: IncomingChannel | None = None
    cpr: IncomingChannel | None = None
    deferred: bool = False
