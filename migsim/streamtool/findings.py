"""What a receiving QEMU makes of a stream, as rules; each row is one fact and its source.

A rule looks at what a walk through the stream found and says, in a sentence, what follows, or
nothing.  Facts were tried against QEMU 10.0.2 (spec interop.md) unless a row says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ..qapi.enums import Capability, RunState
from ..qapi.release import Release
from ..units import PAGE_SIZE, format_size
from .report import StreamForm

if TYPE_CHECKING:
    from .report import StreamInfo

_NAMES_TOLD = 4
_COMMON_DEVICES = ("timer", "globalstate")
_POSTCOPY = ("POSTCOPY_LISTEN", "POSTCOPY_RUN", "PACKAGED")
_KILLING_STATES = (RunState.SAVE_VM, RunState.DEBUG)
_VERSIONED = re.compile(r"pc-(?:q35|i440fx)-(\d+\.\d+)")


class Severity(StrEnum):
    """How bad it is, worst first."""

    KILLS = "kills"
    """The receiving process dies or hangs."""
    FAILS = "fails"
    """The receiving QEMU refuses the stream; the process goes on."""
    WARNING = "warning"
    """It loads, but not as its owner would wish."""
    NEEDS = "needs"
    """It loads where the receiver is set up for it."""
    NOTE = "note"
    """Good to know; nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that follows from what is in a stream.

    Attributes:
        code: short name of the rule.
        severity: how bad it is.
        text: what it is and what to do, one or two sentences.
        offset: where it is in the file, None where it is no place.
    """

    code: str
    severity: Severity
    text: str
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A fact about receivers.

    Attributes:
        code: short name.
        severity: of what it finds.
        source: where the fact comes from.
        look: returns the sentence, or None where the rule has nothing to say.
    """

    code: str
    severity: Severity
    source: str
    look: Callable[[StreamInfo], str | None]


def findings(info: StreamInfo) -> Iterator[Finding]:
    """Yield what the rules say, in the order of the table.

    What a stream lacks is not told of one that could not be read to its end.
    """
    for rule in RULES:
        if not info.ended and rule.severity not in (Severity.KILLS, Severity.FAILS):
            continue
        text = rule.look(info)
        if text is not None:
            yield Finding(rule.code, rule.severity, text, _place(rule.code, info))


def _place(code: str, info: StreamInfo) -> int | None:
    """Return where in the file the finding of a rule lies, if it is one place."""
    if code.startswith("run-state"):
        return next((s.offset for s in info.sections if s.name == "globalstate"), None)
    if code == "trailing-bytes":
        return info.offset + info.length_bytes
    return None


def _command(info: StreamInfo, *names: str) -> bool:
    return any(command.name in names for command in info.commands)


def _device(info: StreamInfo, name: str) -> bool:
    return any(section.name == name for section in info.devices)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else ""
    return ", ".join(names[:_NAMES_TOLD]) + more


# What kills


def _killing_state(info: StreamInfo) -> str | None:
    if info.run_state not in _KILLING_STATES:
        return None
    return (
        f"The stored run state is {info.run_state}: the receiving process aborts, as it knows no"
        " way from inmigrate to that state."
    )


def _early_pages(info: StreamInfo) -> str | None:
    if not info.early_pages:
        return None
    return (
        f"{info.early_pages} pages come on multifd channels before the sync point at setup: the"
        " receiving process dies of a segmentation fault."
    )


# What fails


def _unknown_state(info: StreamInfo) -> str | None:
    if not _device(info, "globalstate") or info.run_state in set(RunState):
        return None
    if info.run_state is None:
        return "The section globalstate cannot be read: the load fails."
    return f"The stored run state {info.run_state!r} does not exist: the load fails."


def _ping_alone(info: StreamInfo) -> str | None:
    places = {command.name: command.offset for command in info.commands}
    if "PING" not in places or places.get("OPEN_RETURN_PATH", 1 << 63) < places["PING"]:
        return None
    return "A PING comes before the return path is opened: the load fails there."


# What is not as it should be


def _no_pages(info: StreamInfo) -> str | None:
    if info.form is StreamForm.MAPPED_RAM:
        return None
    wanted = [block for block in info.blocks if block.in_stream and block.pages]
    if not wanted or any(block.absent_pages < block.pages for block in wanted):
        return None
    if info.flushes and not info.channels:
        return (
            "The pages are on multifd channels, which were not given: name each recording with"
            " --channel."
        )
    names = _listed([block.name for block in wanted])
    return f"No page of RAM is in the stream: {names} arrives empty, or as it was."


def _missing_channels(info: StreamInfo) -> str | None:
    if not info.flushes or info.channels or _no_pages(info):
        return None
    return (
        "There are multifd sync points, but no channels were given: pages on them are missing."
        " Name each recording with --channel."
    )


def _misdescribed(info: StreamInfo) -> str | None:
    if info.description_bytes is None:
        return None
    names = [section.name for section in info.devices if not section.described]
    if not names:
        return None
    return (
        f"The description at the end does not fit section {_listed(names)}. A receiver does not"
        " look at it, but tools do."
    )


def _unfinished_wrapper(info: StreamInfo) -> str | None:
    if info.wrapper is None or info.wrapper.complete:
        return None
    return "libvirt had not finished this file and refuses to restore it; a QEMU does not care."


# What the receiver needs


def _machine(info: StreamInfo) -> str | None:
    if info.machine is None:
        return None
    return f"-machine {info.machine}"


def _ram(info: StreamInfo) -> str | None:
    names = [f"{block.name} {format_size(block.size_bytes)}" for block in info.blocks]
    return f"RAM blocks: {', '.join(names)}" if names else None


def _uri(info: StreamInfo) -> str | None:
    if _socket(info) is not None or info.form is StreamForm.MULTIFD:
        return None
    offset = f",offset={info.offset}" if info.offset else ""
    return f"migrate-incoming file:{info.path}{offset}"


def _capabilities(info: StreamInfo) -> str | None:
    names = list(info.capabilities)
    if not names and info.form is StreamForm.MAPPED_RAM:
        names = [Capability.MAPPED_RAM.value]
    if not names and any(block.address is not None for block in info.blocks):
        names = [Capability.X_IGNORE_SHARED.value]
    return f"capability {' and '.join(names)} on" if names else None


def _ram_files(info: StreamInfo) -> str | None:
    names = [block.name for block in info.blocks if not block.in_stream]
    if not names:
        return None
    return f"the file behind RAM block {_listed(names)}, as it was when the guest was saved"


def _uuid(info: StreamInfo) -> str | None:
    return f"-uuid {info.uuid}, or none" if info.uuid is not None else None


def _no_footers(info: StreamInfo) -> str | None:
    return "-global migration.send-section-footer=off" if info.footers is False else None


def _no_configuration(info: StreamInfo) -> str | None:
    if info.machine is not None:
        return None
    return "-global migration.send-configuration=off, and the machine of the sender"


def _socket(info: StreamInfo) -> str | None:
    if not _command(info, "PING", *_POSTCOPY):
        return None
    what = "postcopy" if _command(info, *_POSTCOPY) else "a return path"
    return f"a socket for {what}: from a file the load fails"


def _multifd(info: StreamInfo) -> str | None:
    if info.form is not StreamForm.MULTIFD:
        return None
    packed = {channel.compression for channel in info.channels} - {None, "none"}
    method = f", multifd-compression {packed.pop()}" if packed else ""
    count = f", {len(info.channels)} channels" if info.channels else ""
    hang = " (with another compression the receiver hangs or fails)" if method else ""
    return f"a socket and multifd on{count}{method}{hang}"


def _accelerator(info: StreamInfo) -> str | None:
    return "KVM: TCG does not know section kvmclock" if _device(info, "kvmclock") else None


def _newer_machine(info: StreamInfo) -> str | None:
    match = _VERSIONED.fullmatch(info.machine or "")
    if match is None or Release.parse(match[1]) <= Release.DEFAULT:
        return None
    return f"QEMU {match[1]} or later: {Release.DEFAULT} has no machine {info.machine}"


# What is good to know


def _page_size(info: StreamInfo) -> str | None:
    if info.page_bytes == PAGE_SIZE:
        return None
    return f"Pages of {info.page_bytes} bytes: this is no x86 machine."


def _in_wrapper(info: StreamInfo) -> str | None:
    if info.wrapper is None:
        return None
    return f"libvirt's wrapper comes first; the stream itself begins at {info.offset:#x}."


def _fresh_ram(info: StreamInfo) -> str | None:
    mapped = info.form is StreamForm.MAPPED_RAM and any(b.zero_pages for b in info.blocks)
    absent = [block.name for block in info.blocks if block.in_stream and block.absent_pages]
    if not mapped and (not absent or _no_pages(info)):
        return None
    what = "Zero pages are not stored" if mapped else f"Not every page of {_listed(absent)} is sent"
    return f"{what}: load it into fresh RAM only, as old content would stay."


def _runs(info: StreamInfo) -> str | None:
    if _device(info, "globalstate") and info.run_state != RunState.RUNNING:
        return None
    state = "suspended" if info.was_suspended else "running"
    why = "" if _device(info, "globalstate") else " No run state is stored, which means running."
    return f"The guest is {state} as soon as it is loaded; with -S it stays paused.{why}"


def _no_devices(info: StreamInfo) -> str | None:
    if info.machine in (None, "", "none"):
        return None
    if any(section.name not in _COMMON_DEVICES for section in info.devices):
        return None
    return "There is no state of devices: the machine starts from its firmware, with this RAM."


def _no_description(info: StreamInfo) -> str | None:
    if info.description_bytes is not None:
        return None
    if _command(info, *_POSTCOPY):
        return "There is no description of the devices, as always with postcopy."
    return "There is no description of the devices: QEMU complains and loads all the same."


def _no_ram_end(info: StreamInfo) -> str | None:
    if not info.blocks or any(s.name == "ram" and s.complete for s in info.sections):
        return None
    return "The ram section has no END part, as in a background snapshot; QEMU does not mind."


def _trailing(info: StreamInfo) -> str | None:
    if not info.trailing_bytes:
        return None
    return f"{info.trailing_bytes} bytes follow the end of the stream; QEMU does not read them."


def _colo(info: StreamInfo) -> str | None:
    if not _command(info, "ENABLE_COLO"):
        return None
    return "COLO is switched on: checkpoints would follow, which are not looked at."


RULES: Final = (
    Rule("run-state-kills", Severity.KILLS, "spec interop.md 2.3", _killing_state),
    Rule("multifd-early-pages", Severity.KILLS, "spec stream.md 11", _early_pages),
    Rule("run-state-unknown", Severity.FAILS, "spec stream.md 4.4", _unknown_state),
    Rule("ping-without-path", Severity.FAILS, "spec interop.md 2.3", _ping_alone),
    Rule("no-pages", Severity.WARNING, "spec stream.md 8.3", _no_pages),
    Rule("missing-channels", Severity.WARNING, "spec stream.md 11", _missing_channels),
    Rule("misdescribed", Severity.WARNING, "spec stream.md 6", _misdescribed),
    Rule("libvirt-partial", Severity.WARNING, "libvirt's source", _unfinished_wrapper),
    Rule("machine", Severity.NEEDS, "spec interop.md 4.1", _machine),
    Rule("ram", Severity.NEEDS, "spec stream.md 8.2", _ram),
    Rule("capabilities", Severity.NEEDS, "spec interop.md 4.2", _capabilities),
    Rule("ram-files", Severity.NEEDS, "spec stream.md 8.4", _ram_files),
    Rule("uuid", Severity.NEEDS, "spec stream.md 3.2", _uuid),
    Rule("no-footers", Severity.NEEDS, "spec interop.md 4.12", _no_footers),
    Rule("no-configuration", Severity.NEEDS, "spec interop.md 4.12", _no_configuration),
    Rule("socket", Severity.NEEDS, "spec interop.md 4.11", _socket),
    Rule("multifd", Severity.NEEDS, "spec interop.md 2.3, 4.2", _multifd),
    Rule("accelerator", Severity.NEEDS, "spec interop.md 4.10", _accelerator),
    Rule("newer-machine", Severity.NEEDS, "spec interop.md 4.1", _newer_machine),
    Rule("uri", Severity.NEEDS, "spec stream.md 12", _uri),
    Rule("page-size", Severity.NOTE, "spec stream.md 3.2", _page_size),
    Rule("libvirt", Severity.NOTE, "libvirt's source", _in_wrapper),
    Rule("fresh-ram", Severity.NOTE, "spec interop.md 4.6", _fresh_ram),
    Rule("runs", Severity.NOTE, "spec interop.md 2.4", _runs),
    Rule("no-devices", Severity.NOTE, "spec interop.md 3", _no_devices),
    Rule("no-description", Severity.NOTE, "spec interop.md 2.1", _no_description),
    Rule("no-ram-end", Severity.NOTE, "spec stream.md 2", _no_ram_end),
    Rule("colo", Severity.NOTE, "spec stream.md 9, not tried", _colo),
    Rule("trailing-bytes", Severity.NOTE, "spec interop.md 2.3", _trailing),
)
"""Everything that is known, in the order in which it is told."""
