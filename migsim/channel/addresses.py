"""Channel lists: the other way of QMP and the command line to say where a migration goes.

An entry has a type (``main`` or ``cpr``) and an address, which is an object with a ``transport``
(spec monitor.md section 2, QEMU 10.0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import ParameterError
from .uri import ChannelAddress, Scheme

_Members = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Channels:
    """Addresses by channel type.

    Attributes:
        main: where the stream goes, or None.
        cpr: where what must not be in the stream goes, or None.
    """

    main: ChannelAddress | None = None
    cpr: ChannelAddress | None = None


def parse_channels(entries: list[object]) -> Channels:
    """Return the addresses of a channel list as decoded from JSON.

    Raises:
        ParameterError: an entry or address is malformed, or there are two of one type.
    """
    found: dict[str, ChannelAddress] = {}
    for entry in entries:
        kind, address = parse_channel(entry)
        if kind in found:
            raise ParameterError("channels", kind, "one channel of each type")
        found[kind] = address
    return Channels(found.get("main"), found.get("cpr"))


def parse_channel(entry: object) -> tuple[str, ChannelAddress]:
    """Return type and address of one entry of a channel list.

    Raises:
        ParameterError: a member is missing, unknown or of a wrong type.
    """
    match entry:
        case {"channel-type": "main" | "cpr" as kind, "addr": dict(address), **rest} if not rest:
            return kind, parse_address(address)
        case _:
            wanted = "'channel-type' (main or cpr) and 'addr' (an object) and nothing else"
            raise ParameterError("channels", entry, wanted)


def parse_address(address: _Members) -> ChannelAddress:
    """Return the address that an object with a ``transport`` means.

    Raises:
        ParameterError: a member is missing, unknown or of a wrong type.
    """
    kind = address.get("transport")
    parse = _TRANSPORTS.get(kind) if isinstance(kind, str) else None
    if parse is None:
        raise ParameterError("transport", kind, f"one of {', '.join(_TRANSPORTS)}")
    return parse({name: value for name, value in address.items() if name != "transport"})


def _file(members: _Members) -> ChannelAddress:
    filename, offset = _take(members, {"filename": str, "offset": int})
    assert isinstance(filename, str)
    assert isinstance(offset, int)
    return ChannelAddress(Scheme.FILE, filename, offset % (1 << 64))


def _exec(members: _Members) -> ChannelAddress:
    (args,) = _take(members, {"args": list})
    assert isinstance(args, list)
    if not args or not all(isinstance(arg, str) for arg in args):
        raise ParameterError("args", args, "a program and its arguments, all strings")
    return ChannelAddress(Scheme.EXEC, args[0], args=tuple(args))


def _rdma(members: _Members) -> ChannelAddress:
    host, port = _take(members, {"host": str, "port": str}, _INET_OPTIONS)
    return ChannelAddress(Scheme.RDMA, f"{host}:{port}")


def _socket(members: _Members) -> ChannelAddress:
    kind = members.get("type")
    rest = {name: value for name, value in members.items() if name != "type"}
    match kind:
        case "unix":
            (path,) = _take(rest, {"path": str}, {"abstract": bool, "tight": bool})
            return ChannelAddress(Scheme.UNIX, str(path))
        case "inet":
            host, port = _take(rest, {"host": str, "port": str}, _INET_OPTIONS)
            shown = f"[{host}]" if ":" in str(host) else host
            return ChannelAddress(Scheme.TCP, f"{shown}:{port}")
        case "fd":
            (name,) = _take(rest, {"str": str})
            return ChannelAddress(Scheme.FD, str(name))
        case "vsock":
            cid, port = _take(rest, {"cid": str, "port": str})
            return ChannelAddress(Scheme.VSOCK, f"{cid}:{port}")
        case _:
            raise ParameterError("type", kind, "one of inet, unix, vsock, fd")


_INET_OPTIONS: Mapping[str, type] = {
    "numeric": bool, "to": int, "ipv4": bool, "ipv6": bool, "keep-alive": bool, "mptcp": bool,
}  # fmt: skip
_TRANSPORTS: Mapping[str, Callable[[_Members], ChannelAddress]] = {
    "socket": _socket,
    "exec": _exec,
    "rdma": _rdma,
    "file": _file,
}


def _take(
    members: _Members, wanted: Mapping[str, type], optional: Mapping[str, type] | None = None
) -> list[object]:
    """Return the wanted members in order, all checked for type; others may be there or not."""
    known = {**wanted, **(optional or {})}
    for name, value in members.items():
        if name not in known:
            raise ParameterError(name, value, f"no such member; there are {', '.join(known)}")
        kind = known[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ParameterError(name, value, f"a value of type {kind.__name__}")
    for name in wanted:
        if name not in members:
            raise ParameterError(name, None, "a value: this member is missing")
    return [members[name] for name in wanted]
