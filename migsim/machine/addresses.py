"""From what a command names to an open channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..channel.base import InputChannel, OutputChannel, SkippingChannel
from ..channel.file import FileInput, FileOutput
from ..channel.uri import ChannelAddress, parse_uri
from ..errors import ConfigError, ParameterError
from ..qapi.migrate_rules import Transport

if TYPE_CHECKING:
    from ..ram.block import RAMList


@dataclass(frozen=True, slots=True)
class Target:
    """Where a migration goes to: an address to be opened, or a channel that is open already."""

    transport: Transport
    address: ChannelAddress | None = None
    channel: OutputChannel | None = None

    @classmethod
    def of(cls, target: str | OutputChannel) -> Target:
        """Return the target that a URI or a channel object means.

        Raises:
            ParameterError: the URI is malformed, or its transport cannot be driven in process.
        """
        if isinstance(target, str):
            address = _modelled(target)
            return cls(Transport(address.scheme), address=address)
        return cls(Transport.FILE, channel=target)

    def open(self) -> OutputChannel:
        """Return the open channel.

        Raises:
            ChannelError: the file cannot be created or cut.
        """
        if self.channel is not None:
            return self.channel
        assert self.address is not None
        return FileOutput(self.address.target, self.address.offset_bytes)

    def check_fits(self, ram: RAMList) -> None:
        """Refuse a channel that wants bytes which this RAM does not have.

        Raises:
            ConfigError: RAM of bitmaps alone needs a channel that counts.
        """
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
    channel: InputChannel | None = None

    @classmethod
    def of(cls, origin: str | InputChannel) -> Origin:
        """Return the origin that a URI or a channel object means; raises as `Target.of`."""
        if isinstance(origin, str):
            address = _modelled(origin)
            return cls(Transport(address.scheme), address=address)
        return cls(Transport.FILE, channel=origin)

    def open(self) -> InputChannel:
        """Return the open channel.

        Raises:
            ChannelError: the file cannot be opened.
        """
        if self.channel is not None:
            return self.channel
        assert self.address is not None
        return FileInput(self.address.target, self.address.offset_bytes)


_OFFSET_LIMIT = 1 << 63
"""Files of the host end below this offset."""


def _modelled(uri: str) -> ChannelAddress:
    address = parse_uri(uri)
    if "\0" in address.target or address.offset_bytes >= _OFFSET_LIMIT:
        raise ParameterError("uri", uri, "a path without null bytes, an offset below 2^63")
    if Transport(address.scheme) is not Transport.FILE:
        raise ParameterError("uri", uri, "a file: address; others are not driven in process")
    return address
