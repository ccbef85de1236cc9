"""Options that stand for themselves: names, actions, globals, descriptors, displays."""

from __future__ import annotations

import re
from typing import Final

from ..errors import ConfigError, ParameterError
from .draft import Draft, Given
from .jsonform import is_json, parse_object
from .keyval import parse_keyval
from .model import Actions, AddFdOption, GlobalOption, Info
from .options import Kind, Options, parse_options
from .schema import check_object
from .text import shorten

_NAME: Final = {"guest": Kind.TEXT, "process": Kind.TEXT, "debug-threads": Kind.SWITCH}
_ACTION: Final = dict.fromkeys(("reboot", "shutdown", "panic", "watchdog"), Kind.TEXT)
_FD: Final = {"fd": Kind.NUMBER, "set": Kind.NUMBER, "opaque": Kind.TEXT}
_GLOBAL: Final = dict.fromkeys(("driver", "property", "value"), Kind.TEXT)
_GLOBAL_SHORT = re.compile(r"([^.=]{1,63})\.([^=]{1,63})=(.*)", re.DOTALL)
_SET = re.compile(r"([^.]{1,63})\.([^.]{1,63})\.([^=]{1,63})=(.*)", re.DOTALL)
_SETTABLE: Final = ("drive", "device", "chardev", "netdev", "object")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SILENT_DISPLAY: Final = "none"


def take_name(draft: Draft, text: str) -> None:
    """Take one ``-name``; a later one replaces it."""
    options = parse_options(text, "guest", _NAME)
    draft.warn_shorthand("name", options)
    draft.texts["name"] = options.get("guest") or ""


def take_uuid(draft: Draft, text: str) -> None:
    """Take one ``-uuid``; raises ParameterError for anything but 8-4-4-4-12 hex digits."""
    if not _UUID.fullmatch(text):
        raise ParameterError("uuid", shorten(text), "8-4-4-4-12 hexadecimal digits")
    draft.texts["uuid"] = text


def resolve_uuid(draft: Draft) -> bytes | None:
    """Return the machine's UUID as 16 bytes, or None without ``-uuid``."""
    text = draft.texts.get("uuid")
    return None if text is None else bytes.fromhex(text.replace("-", ""))


def take_action(draft: Draft, text: str) -> None:
    """Take one ``-action``; the last word on each event counts."""
    options = parse_options(text, None, _ACTION)
    check_object("action", dict(options.values()), textual=True)
    draft.keep(Given("action", text, options))


def take_watchdog_action(draft: Draft, text: str) -> None:
    """Take ``-watchdog-action``: the same as ``-action watchdog=``."""
    take_action(draft, f"watchdog={text.replace(',', ',,')}")


def resolve_actions(draft: Draft) -> Actions:
    """Return what happens on events of the guest."""
    values: dict[str, str] = {}
    for given in draft.all("action"):
        assert given.options is not None
        values |= given.options.values()
    if "no-shutdown" in draft.flags:
        values["shutdown"] = "pause"
    if "no-reboot" in draft.flags:
        values["reboot"] = "shutdown"
    return Actions(**values)


def take_global(draft: Draft, text: str) -> None:
    """Take one ``-global``: ``DRIVER.PROPERTY=VALUE``, or the three with names.

    Raises:
        ConfigError: neither form.
    """
    if match := _GLOBAL_SHORT.fullmatch(text):
        draft.globals.append(GlobalOption(*match.groups()))
        return
    options = parse_options(text, None, _GLOBAL)
    if options.help:
        draft.ask(Info("global"))
        return
    parts = [options.required(name, "-global") for name in ("driver", "property", "value")]
    draft.globals.append(GlobalOption(*parts))


def take_set(draft: Draft, text: str) -> None:
    """Take one ``-set GROUP.ID.KEY=VALUE``: one more key for an option before it.

    Raises:
        ConfigError: malformed, or there is no such option.
    """
    match = _SET.fullmatch(text)
    if match is None:
        raise ConfigError(f"-set {shorten(text)}", "the form is GROUP.ID.KEY=VALUE")
    group, identifier, key, value = match.groups()
    for given in draft.all(group) if group in _SETTABLE else ():
        if given.options is not None and given.options.id == identifier:
            given.options = given.options.updated(Options(((key, value),)))
            return
    raise ConfigError("-set", f"there is no {group[:30]} {shorten(identifier)!r}")


def take_add_fd(draft: Draft, text: str) -> None:
    """Keep one ``-add-fd``."""
    draft.keep(Given("add-fd", text, parse_options(text, None, _FD)))


def resolve_fds(draft: Draft) -> tuple[AddFdOption, ...]:
    """Return the descriptors that join sets.

    Raises:
        ConfigError: the descriptor or the set is missing, or it is a standard stream.
    """
    found = []
    for given in draft.all("add-fd"):
        options = given.options
        assert options is not None
        fd, fdset = options.number("fd"), options.number("set")
        if fd is None or fdset is None:
            raise ConfigError("-add-fd", "it needs fd= and set=")
        if fd <= 2 or fd >= 1 << 31:
            raise ParameterError("fd", fd, "a descriptor that is not a standard stream")
        found.append(AddFdOption(fd, fdset, options.get("opaque")))
    return tuple(found)


def take_display(draft: Draft, text: str) -> None:
    """Check one ``-display``; there is none, so others than ``none`` bring a warning.

    Raises:
        ParameterError: no such kind of display, or no such member of it.
    """
    if text in ("help", "?"):
        draft.ask(Info("display"))
        return
    if text.startswith("vnc"):
        draft.warn("-display vnc: not modelled; accepted, because it shows the guest to people")
        return
    if is_json(text):
        members = check_object("display", parse_object(text, "-display"))
    else:
        members = check_object("display", parse_keyval(text, "type").members, textual=True)
    if members["type"] != _SILENT_DISPLAY:
        kind = members["type"]
        draft.warn(f"-display {kind}: not modelled; accepted, because it shows the guest to people")
