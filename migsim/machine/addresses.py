"""From what a command names to an open channel."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..channel.base import InputChannel, OutputChannel, RandomAccessChannel, SkippingChannel
from ..channel.direct import DirectFileInput, DirectFileOutput, open_direct
from ..channel.file import FileInput, FileOutput
from ..channel.group import InputGroup, OutputGroup
from ..channel.uri import ChannelAddress, Scheme, parse_uri
from ..errors import ChannelError, ConfigError, ParameterError
from ..qapi.enums import Capability
from ..qapi.migrate_rules import Transport

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from ..channel.descriptors import DescriptorTable
    from ..qapi.parameters import MigrationParameters
    from ..ram.block import RAMList


@dataclass(frozen=True, slots=True)
class Needs:
    """What a migration needs beside its main channel.

    Attributes:
        further: number of channels for multifd.
        direct_io: the pages of a file go past the host's cache.
    """

    further: int = 0
    direct_io: bool = False

    @classmethod
    def of(cls, capabilities: AbstractSet[Capability], parameters: MigrationParameters) -> Needs:
        """Return what these settings ask for; multifd to a file needs no channels of its own."""
        if Capability.MULTIFD not in capabilities:
            return cls()
        if Capability.MAPPED_RAM in capabilities:
            return cls(direct_io=parameters.direct_io)
        return cls(further=parameters.multifd_channels)


MAIN_ONLY = Needs()


class Connector(Protocol):
    """Opens the addresses that commands name.

    One that connects to other processes may answer None: the channel comes later, through
    `Machine.outgoing_ready` or `Machine.incoming_ready`.
    """

    def check(self, address: ChannelAddress) -> None:
        """Refuse what can never be opened.

        Raises:
            ParameterError: a transport that this connector does not have, or a malformed address.
        """
        ...

    def open_output(
        self, address: ChannelAddress, needs: Needs = MAIN_ONLY
    ) -> OutputChannel | None:
        """Open ``address`` for a stream that goes out.

        Raises:
            ChannelError: it cannot be opened.
        """
        ...

    def open_input(self, address: ChannelAddress, needs: Needs = MAIN_ONLY) -> InputChannel | None:
        """Open ``address`` for a stream that comes in; raises as `open_output`."""
        ...

    def hand_over(
        self, address: ChannelAddress, memory: Mapping[str, int], then: Callable[[], None]
    ) -> None:
        """Send descriptors by block name to the process that waits at ``address``.

        ``then`` is called when that process has hung up, unless `abandon` comes first.

        Raises:
            ChannelError: no process waits there, or it cannot be given descriptors.
        """
        ...

    def abandon(self) -> None:
        """Stop waiting for channels: nobody needs them any more."""
        ...


class FileConnector:
    """Opens files, named or handed over as descriptors: what needs no other process."""

    def __init__(self, descriptors: DescriptorTable) -> None:
        self.descriptors = descriptors

    def check(self, address: ChannelAddress) -> None:
        """Refuse other transports, and names that no file can have."""
        if "\0" in address.target or address.offset_bytes >= _OFFSET_LIMIT:
            wanted = "a path without null bytes, an offset below 2^63"
            raise ParameterError("uri", address.uri, wanted)
        if address.scheme is not Scheme.FILE:
            wanted = "a file: address; others are not driven in process"
            raise ParameterError("uri", address.uri, wanted)

    def open_output(self, address: ChannelAddress, needs: Needs = MAIN_ONLY) -> OutputChannel:
        """Open or create the file, cut to the offset."""
        return open_file_output(address, needs, self.descriptors)

    def open_input(self, address: ChannelAddress, needs: Needs = MAIN_ONLY) -> InputChannel:
        """Open the file at the offset."""
        return open_file_input(address, needs, self.descriptors)

    def hand_over(
        self, address: ChannelAddress, memory: Mapping[str, int], then: Callable[[], None]
    ) -> None:
        """Raise ChannelError: there is no other process."""
        raise ChannelError(address.uri, "connect", "there is no other process to hand memory to")

    def abandon(self) -> None:
        """Do nothing: nothing is waited for."""


def open_file_output(
    address: ChannelAddress, needs: Needs, descriptors: DescriptorTable
) -> FileOutput:
    """Open or create the file that ``address`` names, cut to the offset.

    Raises:
        ChannelError: it cannot be opened, or a set has no descriptor of the kind.
    """
    path, offset = address.target, address.offset_bytes
    fd = descriptors.open_path(path, os.O_WRONLY)
    if not needs.direct_io:
        return FileOutput(path, offset, fd=fd, overlap=True)
    main = FileOutput(path, offset, fd=fd)
    try:
        direct = descriptors.open_path(path, os.O_WRONLY | os.O_DIRECT)
        direct = open_direct(path, os.O_WRONLY) if direct is None else direct
    except ChannelError:
        main.close()
        raise
    return DirectFileOutput(path, offset, fd=main.detach(), direct_fd=direct)


def open_file_input(
    address: ChannelAddress, needs: Needs, descriptors: DescriptorTable
) -> FileInput:
    """Open the file that ``address`` names at the offset; raises as `open_file_output`."""
    path, offset = address.target, address.offset_bytes
    fd = descriptors.open_path(path, os.O_RDONLY)
    if not needs.direct_io:
        return FileInput(path, offset, fd=fd)
    main = FileInput(path, offset, fd=fd)
    try:
        direct = descriptors.open_path(path, os.O_RDONLY | os.O_DIRECT)
        direct = open_direct(path, os.O_RDONLY) if direct is None else direct
    except ChannelError:
        main.close()
        raise
    return DirectFileInput(path, offset, fd=main.detach(), direct_fd=direct)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a migration goes to: an address to be opened, or a channel that is open already.

    ``cpr`` is where descriptors go to, for the mode that hands them over.
    """

    transport: Transport
    address: ChannelAddress | None = None
    channel: OutputChannel | None = None
    further: tuple[OutputChannel, ...] = ()
    cpr: ChannelAddress | None = None

    @classmethod
    def of(
        cls,
        target: str | ChannelAddress | OutputChannel | OutputGroup,
        connector: Connector,
        cpr: ChannelAddress | None = None,
    ) -> Target:
        """Return the target that a URI, an address or a channel object means.

        Raises:
            ParameterError: the URI is malformed, or its transport cannot be driven here.
        """
        if isinstance(target, str | ChannelAddress):
            address = _address(target, connector)
            return cls(Transport(address.scheme), address=address, cpr=cpr)
        if isinstance(target, OutputGroup):
            # Several channels are what a socket has.
            return cls(Transport.UNIX, channel=target.main, further=target.further, cpr=cpr)
        return cls(Transport.FILE, channel=target, cpr=cpr)

    def open(self, connector: Connector, needs: Needs = MAIN_ONLY) -> OutputChannel | None:
        """Return the open channel, or None when it is being connected.

        Raises:
            ChannelError: it cannot be opened.
        """
        if self.channel is not None:
            return self.channel
        assert self.address is not None
        return connector.open_output(self.address, needs)

    def check_fits(
        self, ram: RAMList, needs: Needs = MAIN_ONLY, *, mapped_ram: bool = False
    ) -> None:
        """Refuse a channel that wants bytes which this RAM does not have, or gives no places.

        Raises:
            ConfigError: RAM of bitmaps alone needs a channel that counts, and mapped-ram one that
                can be seeked.
        """
        if mapped_ram and not isinstance(self.channel, RandomAccessChannel | None):
            raise ConfigError("mapped-ram", "needs a channel that can be seeked: take a file")
        if self.channel is not None and len(self.further) != needs.further:
            reason = f"needs {needs.further} channels beside the main one, {len(self.further)} came"
            raise ConfigError("multifd", reason)
        if self.channel is not None and isinstance(self.channel, SkippingChannel):
            return
        for block in ram.migratable():
            if not block.backend.has_bytes:
                reason = "has no bytes to save: migrate it to a CountingOutput"
                raise ConfigError(f"RAM block {block.name}", reason)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an incoming migration comes from."""

    transport: Transport
    address: ChannelAddress | None = None
    channel: InputChannel | InputGroup | None = None

    @classmethod
    def of(
        cls, origin: str | ChannelAddress | InputChannel | InputGroup, connector: Connector
    ) -> Origin:
        """Return the origin that is meant; raises as `Target.of`."""
        if isinstance(origin, str | ChannelAddress):
            address = _address(origin, connector)
            return cls(Transport(address.scheme), address=address)
        transport = Transport.UNIX if isinstance(origin, InputGroup) else Transport.FILE
        return cls(transport, channel=origin)

    def open(
        self, connector: Connector, needs: Needs = MAIN_ONLY
    ) -> InputChannel | InputGroup | None:
        """Return the open channel, or None when it is waited for.

        Raises:
            ChannelError: it cannot be opened.
        """
        if self.channel is not None:
            return self.channel
        assert self.address is not None
        return connector.open_input(self.address, needs)


_OFFSET_LIMIT = 1 << 63
"""Files of the host end below this offset."""


def _address(given: str | ChannelAddress, connector: Connector) -> ChannelAddress:
    address = parse_uri(given) if isinstance(given, str) else given
    connector.check(address)
    return address
