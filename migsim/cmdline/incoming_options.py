"""``-incoming``: a URI, ``defer``, or a channel in JSON or ``key=value`` form; repeatable."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..channel.uri import Scheme, parse_uri
from ..errors import ConfigError
from .draft import Draft, Given
from .jsonform import is_json, parse_object
from .keyval import parse_keyval
from .parts import IncomingChannel, IncomingOption
from .schema import check_object

if TYPE_CHECKING:
    from ..qapi.release import Release

DEFER: Final = "defer"
CHANNELS_SINCE: Final = "10.0"
"""First release that takes channels on the command line."""
_PATH_LIMIT: Final = 107
# Letters and digits before the first colon make a URI; everything else is a channel.
_IS_URI = re.compile(r"[A-Za-z0-9]*:")


def take_incoming(draft: Draft, text: str) -> None:
    """Keep one ``-incoming``; it is checked at once, also when a later one replaces it."""
    _channel(text, draft.release)
    draft.keep(Given("incoming", text))


def resolve_incoming(draft: Draft) -> IncomingOption | None:
    """Return where to load from: the last one for each type of channel; None without any.

    Raises:
        ConfigError: a malformed channel, or one that cannot carry descriptors.
        ParameterError: a malformed URI or member.
    """
    given = draft.all("incoming")
    if not given:
        return None
    main, cpr, deferred = None, None, False
    for one in given:
        kind, channel = _channel(one.text, draft.release)
        if kind == "cpr":
            cpr = channel
        else:
            main, deferred = channel, channel is None
    if cpr is not None:
        _check_cpr(cpr)
    return IncomingOption(main, cpr, deferred)


def _channel(text: str, release: Release) -> tuple[str, IncomingChannel | None]:
    """Return the type of channel and the channel itself, None for ``defer``."""
    if text == DEFER:
        return "main", None
    if _IS_URI.match(text):
        check_uri(text)
        return "main", IncomingChannel(text)
    if not release.has(CHANNELS_SINCE):
        raise ConfigError("-incoming", f"channels came with release {CHANNELS_SINCE}; give a URI")
    if is_json(text):
        members = check_object("channel", parse_object(text, "-incoming"))
    else:
        parsed = parse_keyval(text, "channel-type")
        if parsed.help:
            raise ConfigError("-incoming", "there is no help for it")
        members = check_object("channel", parsed.members, textual=True)
    address = members["addr"]
    assert isinstance(address, dict)
    channel = IncomingChannel(None, address)
    channel.parsed()
    return str(members["channel-type"]), channel


def check_uri(uri: str) -> None:
    """Do nothing if ``uri`` is an address that a machine could load from, as far as it shows.

    Raises:
        ParameterError: no known scheme, or a malformed offset.
        ConfigError: a malformed socket address or descriptor.
    """
    address = parse_uri(uri)
    target = address.target
    if address.scheme is Scheme.TCP and ":" not in target:
        raise ConfigError(f"-incoming {uri}", "a TCP address is HOST:PORT")
    path_bytes = len(target.encode("utf-8", "surrogatepass"))
    if address.scheme is Scheme.UNIX and not 0 < path_bytes <= _PATH_LIMIT:
        raise ConfigError("-incoming", f"the path of a socket has 1 to {_PATH_LIMIT} bytes")
    if address.scheme is Scheme.FD and not target.isdecimal():
        raise ConfigError(f"-incoming {uri}", "before the monitor is there, fd: takes a number")
    if address.scheme is Scheme.RDMA:
        raise ConfigError(f"-incoming {uri}", "there is no RDMA here")


def _check_cpr(channel: IncomingChannel) -> None:
    address = channel.address or {}
    if (address.get("transport"), address.get("type")) != ("socket", "unix"):
        raise ConfigError("-incoming cpr", "descriptors need a socket of type unix")
