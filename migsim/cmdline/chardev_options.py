"""``-chardev``, and the short forms of character devices that ``-qmp`` and others take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ..errors import ConfigError, ParameterError
from .draft import Draft, Given
from .model import Info
from .options import Kind, Options, parse_options
from .parts import Chardev
from .text import parse_bytes, parse_number, parse_switch, shorten, words

BACKENDS: Final = frozenset(
    words(
        "null stdio socket udp file pipe pty ringbuf memory mux hub vc msmouse wctablet testdev"
        " serial parallel qemu-vdagent braille spicevmc spiceport dbus"
    )
)
"""Every backend of QEMU 10.0, those of loadable modules included."""

KNOWN: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(
        words(
            "backend path input-path host port fd localaddr localport tls-creds tls-authz name"
            " chardev chardevs.0 chardevs.1 chardevs.2 chardevs.3 logfile"
        ),
        Kind.TEXT,
    ),
    **dict.fromkeys(
        words(
            "abstract tight clipboard mouse logappend append signal mux websocket tn3270 telnet"
            " nodelay delay server wait ipv4 ipv6"
        ),
        Kind.SWITCH,
    ),
    **dict.fromkeys(words("debug rows cols height width reconnect-ms reconnect to"), Kind.NUMBER),
    "size": Kind.SIZE,
}
"""The keys that every ``-chardev`` takes, whatever its backend."""

_NEEDED: Final[Mapping[str, str]] = {
    "file": "path",
    "pipe": "path",
    "serial": "path",
    "parallel": "path",
    "udp": "port",
    "mux": "chardev",
    "hub": "chardevs.0",
}
_WORDS: Final = ("null", "pty", "msmouse", "wctablet", "braille", "testdev", "stdio")
_PATHS: Final[Mapping[str, str]] = {"file:": "file", "pipe:": "pipe", "unix:": "socket"}
_TCP = re.compile(r"(tcp|telnet|tn3270|websocket):([^:]{0,64}):([^,]{1,32})(?:,(.*))?", re.DOTALL)
_UDP = re.compile(r"udp:([^:]{0,64}):([^@,]{1,32})(?:@([^:]{0,64}):([^,]{1,32}))?")
_VC = re.compile(r"vc(?::(\d+)(C?)x(\d+)(C?))?")
_SOCKET_PATH_LIMIT: Final = 107


def take_chardev(draft: Draft, text: str) -> None:
    """Keep one ``-chardev``."""
    options = parse_options(text, "backend", KNOWN)
    if options.help or options.get("backend") in ("help", "?"):
        draft.ask(Info("chardev"))
        return
    draft.keep(Given("chardev", text, options))


def resolve_chardevs(draft: Draft) -> list[Chardev]:
    """Return the character devices of all ``-chardev`` options, in order.

    Raises:
        ConfigError: no or two of one id, no such backend, or keys that do not go together.
    """
    chardevs = []
    for given in draft.all("chardev"):
        options = given.options
        assert options is not None
        if options.id is None:
            raise ConfigError(f"-chardev {shorten(given.text)}", "an id= is missing")
        chardevs.append(_chardev(options.id, options, "-chardev"))
    return chardevs


def _chardev(identifier: str, options: Options, option: str) -> Chardev:
    backend = options.required("backend", f"character device {identifier}")
    values = {name: _typed(name, v) for name, v in options.values().items() if name != "backend"}
    chardev = Chardev(identifier, backend, values, option)
    _check(chardev)
    return chardev


def _typed(name: str, text: str) -> str | int | bool:
    kind = KNOWN[name]
    if kind is Kind.SWITCH:
        return parse_switch(name, text)
    if kind is Kind.NUMBER:
        return parse_number(name, text)
    return parse_bytes(name, text) if kind is Kind.SIZE else text


def _check(chardev: Chardev) -> None:
    """Check a backend and its keys (rules seen on QEMU 10.0.2)."""
    what, backend, p = f"{chardev.option} {chardev.id}", chardev.backend, chardev.properties
    if backend not in BACKENDS:
        raise ConfigError(what, f"there is no backend {shorten(backend)!r}")
    needed = _NEEDED.get(backend)
    if needed is not None and needed not in p:
        raise ConfigError(what, f"backend {backend} needs {needed}=")
    size = p.get("size", 1)
    if backend == "ringbuf" and isinstance(size, int) and (size & (size - 1) or not size):
        raise ParameterError("size", size, "a power of two")
    if backend == "socket":
        _check_socket(what, p)


def _check_socket(what: str, p: Mapping[str, str | int | bool]) -> None:
    places = [name for name in ("path", "fd", "host") if name in p]
    if len(places) > 1 or not (places or "port" in p):
        raise ConfigError(what, "a socket has one of path=, host= with port=, and fd=")
    if places == ["host"] and "port" not in p:
        raise ConfigError(what, "host= needs port=")
    path, fd = p.get("path", ""), p.get("fd", "0")
    if len(str(path).encode("utf-8", "surrogatepass")) > _SOCKET_PATH_LIMIT:
        raise ConfigError(what, f"the path of a socket has {_SOCKET_PATH_LIMIT} bytes at most")
    if not str(fd).isdecimal():
        raise ParameterError("fd", fd, "the number of a descriptor")
    if {"reconnect", "reconnect-ms"} <= p.keys():
        raise ConfigError(what, "reconnect= and reconnect-ms= are two words for one thing")
    server = p.get("server") is True
    if not server and p.get("wait") is not None:
        raise ConfigError(what, "wait= belongs to server=on")
    if server and p.get("reconnect"):
        raise ConfigError(what, "reconnect= belongs to a client")


def parse_short(text: str, identifier: str, option: str) -> Chardev:
    """Return the character device that a short form names: ``unix:PATH,server=on``, ``null`` ...

    Raises:
        ConfigError: not a short form, or keys that do not go together.
    """
    return _chardev(identifier, _short_options(text, option), option)


def _short_options(text: str, option: str) -> Options:
    if text in _WORDS:
        return Options((("backend", text),))
    for prefix, backend in _PATHS.items():
        if text.startswith(prefix):
            rest = text.removeprefix(prefix) or "path="
            return _with(backend, parse_options(rest, "path", KNOWN))
    if match := _TCP.fullmatch(text):
        return _network(match)
    if match := _UDP.fullmatch(text):
        names = ("host", "port", "localaddr", "localport")
        pairs = [(n, v) for n, v in zip(names, match.groups(), strict=True) if v]
        return Options((("backend", "udp"), *pairs))
    if match := _VC.fullmatch(text):
        width, chars_wide, height, chars_high = match.groups()
        wide, high = "cols" if chars_wide else "width", "rows" if chars_high else "height"
        sizes = ((wide, width), (high, height)) if width else ()
        return Options((("backend", "vc"), *sizes))
    if text.startswith("/dev/"):
        backend = "parallel" if text.startswith(("/dev/parport", "/dev/ppi")) else "serial"
        return Options((("backend", backend), ("path", text)))
    raise ConfigError(f"{option} {shorten(text)}", "is not the short form of a character device")


def _network(match: re.Match[str]) -> Options:
    kind, host, port, rest = match.groups()
    pairs = [("host", host)] if host else []
    pairs.append(("port", port))
    if kind != "tcp":
        pairs.append((kind, "on"))
    options = parse_options(rest or "", None, KNOWN)
    return _with("socket", Options((*pairs, *options.pairs), None, False, options.shorthand))


def _with(backend: str, options: Options) -> Options:
    return Options((("backend", backend), *options.pairs), None, False, options.shorthand)
