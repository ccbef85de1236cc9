"""Host sides of devices of which only the ids matter: networks, sounds, shared folders, TPMs."""

from __future__ import annotations

from typing import Final

from ..errors import ConfigError, ParameterError
from .draft import Draft, Given
from .jsonform import is_json, parse_object
from .keyval import parse_keyval
from .model import Info
from .options import Kind, parse_options
from .schema import cases, check_object, member_names
from .text import check_identifier, shorten, words

_FSDEV_DRIVERS: Final = ("local", "synth", "proxy")
_FSDEV: Final = {
    **dict.fromkeys(
        words("fsdriver path security_model writeout multidevs socket mount_tag"), Kind.TEXT
    ),
    **dict.fromkeys(("sock_fd", "fmode", "dmode"), Kind.NUMBER),
    "readonly": Kind.SWITCH,
}


NO_NETWORK: Final = "no-network"
"""Flag of a draft: ``-nic none`` or ``-net none`` was given."""


def take_netdev(draft: Draft, text: str) -> None:
    """Keep one ``-netdev``."""
    if is_json(text):
        members = check_object("netdev", parse_object(text, "-netdev"))
        draft.keep(Given("netdev", text, members=members))
        return
    options = parse_options(text, "type")
    kind = options.get("type")
    if options.help or kind in ("help", "?"):
        draft.ask(Info("netdev"))
        return
    if kind not in cases("netdev"):
        raise ParameterError("type", shorten(str(kind)), "a kind of network back end")
    known = member_names("netdev", kind)
    for name, _ in options.pairs:
        if name.partition(".")[0] not in known:
            raise ConfigError(f"-netdev {kind}", f"there is no key {shorten(name)!r}")
    draft.keep(Given("netdev", text, options))


def take_audiodev(draft: Draft, text: str) -> None:
    """Keep one ``-audiodev``."""
    if is_json(text):
        members = check_object("audiodev", parse_object(text, "-audiodev"))
    else:
        parsed = parse_keyval(text, "driver")
        if parsed.help or parsed.members.get("driver") == "help":
            draft.ask(Info("audiodev"))
            return
        members = check_object("audiodev", parsed.members, textual=True)
    draft.keep(Given("audiodev", text, members=members))


def take_audio(draft: Draft, text: str) -> None:
    """Check one ``-audio``: a sound back end that devices use by default."""
    driver = parse_options(text, "driver").get("driver", "")
    if driver not in cases("audiodev"):
        raise ParameterError("driver", shorten(str(driver)), "a sound back end")
    draft.texts["audio"] = text


def take_fsdev(draft: Draft, text: str) -> None:
    """Keep one ``-fsdev``."""
    _keep_folder(draft, "fsdev", text)


def take_virtfs(draft: Draft, text: str) -> None:
    """Keep one ``-virtfs``: a shared folder with its device; its id is its mount tag's."""
    _keep_folder(draft, "virtfs", text)


def _keep_folder(draft: Draft, option: str, text: str) -> None:
    options = parse_options(text, "fsdriver", _FSDEV)
    driver = options.required("fsdriver", f"-{option}")
    if driver not in _FSDEV_DRIVERS:
        raise ParameterError("fsdriver", shorten(driver), f"one of {', '.join(_FSDEV_DRIVERS)}")
    if driver == "local":
        options.required("path", f"-{option}")
        options.required("security_model", f"-{option}")
    if option == "virtfs":
        options.required("mount_tag", "-virtfs")
    elif options.id is None:
        raise ConfigError("-fsdev", "id= is missing")
    draft.keep(Given(option, text, options))


def take_tpmdev(draft: Draft, text: str) -> None:
    """Keep one ``-tpmdev``."""
    options = parse_options(text, "type")
    if options.help or options.get("type") in ("help", "?"):
        draft.ask(Info("tpmdev"))
        return
    if options.id is None:
        raise ConfigError("-tpmdev", "id= is missing")
    draft.keep(Given("tpmdev", text, options))


def user_networks(draft: Draft) -> int:
    """Return the number of networks that the process itself plays: ``-netdev user``."""
    kinds = [
        given.options.get("type") if given.options is not None else (given.members or {})["type"]
        for given in draft.all("netdev")
    ]
    return kinds.count("user") + has_default_network(draft)


def has_default_network(draft: Draft) -> bool:
    """Return whether the machine has the network card that it has when nobody asks for one."""
    return not ({"nodefaults", NO_NETWORK} & draft.flags or draft.all("netdev"))


def backend_ids(draft: Draft, option: str) -> tuple[str, ...]:
    """Return the ids that all occurrences of an option give.

    Raises:
        ConfigError: one is missing, malformed, or given twice.
    """
    ids: list[str] = []
    for given in draft.all(option):
        found = given.options.id if given.options is not None else None
        if given.members is not None:
            found = str(given.members["id"])
        if found is None:
            raise ConfigError(f"-{option}", "id= is missing")
        ids.append(check_identifier(f"-{option}", found))
    if len(set(ids)) < len(ids):
        raise ConfigError(f"-{option}", "two of them have the same id")
    return tuple(ids)
