"""Addresses of channels: ``file:PATH[,offset=SIZE]`` and the other schemes by name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..errors import ParameterError
from ..units import parse_size

_OFFSET = ",offset="


class Scheme(StrEnum):
    """Schemes of a migration URI; the value is what stands before the colon.

    Source: QMP reference of QEMU 10.0, command ``migrate``.
    """

    FILE = "file"
    FD = "fd"
    EXEC = "exec"
    TCP = "tcp"
    UNIX = "unix"
    VSOCK = "vsock"
    RDMA = "rdma"

    @property
    def seekable(self) -> bool:
        """Whether bytes can be placed anywhere, which mapped-ram needs."""
        return self is Scheme.FILE


@dataclass(frozen=True, slots=True)
class ChannelAddress:
    """A parsed URI.

    Attributes:
        scheme: kind of channel.
        target: what follows the colon: a path, a command, a host and port, a name.
        offset_bytes: byte of the file at which the stream begins; 0 for all other schemes.
        args: program and arguments of an ``exec`` address that was given as a list; empty means
            that ``target`` is a command line for a shell.
    """

    scheme: Scheme
    target: str
    offset_bytes: int = 0
    args: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        """The address as text; parsing it gives the address again."""
        tail = f"{_OFFSET}{self.offset_bytes}" if self.offset_bytes else ""
        return f"{self.scheme.value}:{self.target}{tail}"


def parse_uri(uri: str) -> ChannelAddress:
    """Return the address that ``uri`` names.

    A file's offset takes size suffixes (4k, 1M, 0x1000); negative numbers, ``1e3`` and text are
    refused (spec stream.md section 12, QEMU 10.0).

    Raises:
        ParameterError: no known scheme, or a malformed offset.
    """
    name, colon, target = uri.partition(":")
    try:
        scheme = Scheme(name if colon else "")
    except ValueError:
        schemes = ", ".join(f"{known.value}:" for known in Scheme)
        raise ParameterError("uri", uri, f"an address that begins with one of {schemes}") from None
    if scheme is Scheme.TCP:
        split_host(target)
    if scheme is not Scheme.FILE:
        return ChannelAddress(scheme, target)
    path, option, size = target.partition(_OFFSET)
    return ChannelAddress(scheme, path, parse_size(size, "offset") if option else 0)


def split_host(target: str) -> tuple[str, str]:
    """Return host and port of ``HOST:PORT``; an IPv6 address stands in brackets.

    The port may be a word; whether there is such a service shows when it is connected to.

    Raises:
        ParameterError: there is no port.
    """
    address = target.partition(",")[0]
    host, colon, port = address.rpartition(":")
    if not colon or not port:
        raise ParameterError("uri", f"tcp:{target}", "a host and a port, as in tcp:HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), port
