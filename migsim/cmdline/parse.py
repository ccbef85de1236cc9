"""An argument list to a `CommandLine`: words to options, options to a draft, the draft together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError, MigsimError
from ..qapi.release import Release
from . import (
    backend_options,
    chardev_options,
    console_options,
    cpu_options,
    device_options,
    incoming_options,
    machine_options,
    memory_options,
    misc_options,
    object_options,
)
from .assemble import assemble, information
from .block_options import SHORT_DRIVES, take_blockdev, take_drive, take_short_drive
from .draft import Draft, Given
from .model import CommandLine, Info
from .table import Handling, OptionRow
from .text import MESSAGE_CHARACTERS, shorten, words
from .words import Word, split_words

if TYPE_CHECKING:
    from .parts import IncomingOption

Handler = Callable[[Draft, str], None]


def _text(name: str, draft: Draft, text: str) -> None:
    """Remember the argument of an option whose last occurrence counts."""
    draft.texts[name] = text


def _keep(name: str, draft: Draft, text: str) -> None:
    """Remember one more occurrence, as text."""
    draft.keep(Given(name, text))


_HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType(
    {
        "machine": machine_options.take_machine,
        "M": machine_options.take_machine,
        "accel": machine_options.take_accel,
        "smp": cpu_options.take_smp,
        "m": memory_options.take_m,
        "numa": memory_options.take_numa,
        "object": object_options.take_object,
        "device": device_options.take_device,
        "drive": take_drive,
        "blockdev": take_blockdev,
        "chardev": chardev_options.take_chardev,
        "mon": console_options.take_mon,
        "incoming": incoming_options.take_incoming,
        "global": misc_options.take_global,
        "set": misc_options.take_set,
        "name": misc_options.take_name,
        "uuid": misc_options.take_uuid,
        "action": misc_options.take_action,
        "watchdog-action": misc_options.take_watchdog_action,
        "add-fd": misc_options.take_add_fd,
        "display": misc_options.take_display,
        "netdev": backend_options.take_netdev,
        "audiodev": backend_options.take_audiodev,
        "audio": backend_options.take_audio,
        "fsdev": backend_options.take_fsdev,
        "virtfs": backend_options.take_virtfs,
        "tpmdev": backend_options.take_tpmdev,
        **{name: partial(take_short_drive, name) for name in SHORT_DRIVES},
        **{
            name: partial(_text, name)
            for name in words("cpu mem-path vga qtest qtest-log loadvm dump-vmstate pidfile")
        },
        **{
            name: partial(_keep, name)
            for name in words("monitor qmp qmp-pretty serial parallel debugcon usbdevice")
        },
    }
)
"""What takes the argument of each option."""

_INFO_FLAGS: Final = {"version": "version", "help": "help", "h": "help"}
_SILENT: Final = ("net", "nic", "audio")


def parse(
    argv: Sequence[str],
    release: Release = Release.DEFAULT,
    *,
    own: Mapping[str, bool] = MappingProxyType({}),
    strict: bool = True,
) -> CommandLine:
    """Return what the argument list ``argv`` (without the program's name) says.

    No file is looked at.  With ``strict``, an option that migsim cannot run with is an error;
    without, it is listed in ``refused``.  ``own`` names options of the caller; see `split_words`.

    Raises:
        ConfigError: for which QEMU ends with status 1 at its start, or (strict) an option that
            would change the outcome of a migration and is not modelled; ``what`` names it.
        ParameterError: options that do not fit together as numbers.
    """
    draft = _drafted(argv, release, own)
    try:
        line = assemble(draft) if draft.info is None else information(draft)
    except MigsimError as error:
        if len(str(error)) <= MESSAGE_CHARACTERS:
            raise
        raise ConfigError("option", shorten(str(error), MESSAGE_CHARACTERS)) from error
    if strict and line.refused and line.info is None:
        first = line.refused[0]
        raise ConfigError(first.option, f"migsim does not model it: {first.reason}")
    return line


def early_incoming(
    argv: Sequence[str],
    release: Release = Release.DEFAULT,
    *,
    own: Mapping[str, bool] = MappingProxyType({}),
) -> IncomingOption | None:
    """Return where ``argv`` loads from, without putting the machine together.

    With a cpr channel QEMU waits for the source before most of its options are looked at (spec
    frontend.md section 10, QEMU 10.0): what `parse` finds wrong beyond what this function does
    ends the process only after the descriptors have come.

    Raises:
        ConfigError: an option that is malformed by itself, or no such machine type.
    """
    draft = _drafted(argv, release, own)
    if draft.info is not None:
        return None
    name = draft.machine.get("type", machine_options.DEFAULT_MACHINE)
    machine_options.machine_family(str(name), release)
    incoming = incoming_options.resolve_incoming(draft)
    if incoming is not None and "loadvm" in draft.texts:
        raise ConfigError("-loadvm", "cannot be combined with -incoming")
    return incoming


def _drafted(argv: Sequence[str], release: Release, own: Mapping[str, bool]) -> Draft:
    """Return the options of ``argv``, each checked by itself, up to one that only wants a text."""
    draft = Draft(release)
    for word in split_words(argv, own):
        _take(draft, word)
        if draft.info is not None and draft.info.kind in _INFO_FLAGS.values():
            break
    return draft


def _take(draft: Draft, word: Word) -> None:
    """Let the handler of an option take it; errors name the option."""
    if word.row is None:
        draft.own.append((word.name, word.argument))
        return
    shown = f"-{word.name}" + (f" {shorten(word.argument)}" if word.argument is not None else "")
    if word.name in _INFO_FLAGS:
        draft.ask(Info(_INFO_FLAGS[word.name]))
        return
    _judge(draft, word, word.row)
    handler = _HANDLERS.get(word.name)
    try:
        if handler is not None and word.argument is not None:
            handler(draft, word.argument)
        elif word.argument is None:
            _take_flag(draft, word.name)
    except MigsimError as error:
        raise ConfigError(shown, shorten(str(error), MESSAGE_CHARACTERS)) from error


def _judge(draft: Draft, word: Word, row: OptionRow) -> None:
    """Warn about, remember, or refuse an option that is not modelled."""
    if word.name in _SILENT and word.argument == "none":
        if word.name != "audio":
            draft.flags.add(backend_options.NO_NETWORK)
        return
    if row.handling is Handling.HARMLESS:
        draft.warn(f"-{row.name}: not modelled; accepted, because {_reason(row)}")
    elif row.handling is Handling.ABSENT:
        raise ConfigError(f"option -{row.name}", row.note)
    elif row.handling is Handling.REFUSED:
        draft.refuse(f"-{row.name}", row.note)


def _reason(row: OptionRow) -> str:
    return row.note if row.note.startswith("it ") else f"it is {row.note}"


def _take_flag(draft: Draft, name: str) -> None:
    if name == "enable-kvm":
        machine_options.enable_kvm(draft)
    elif name == "usb":
        machine_options.take_machine(draft, "usb=on")
    else:
        draft.flags.add(name)
