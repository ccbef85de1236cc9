"""``check``: is the stream whole, and what does a QEMU say to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..machine.types import machine_type
from .findings import Finding, Severity, findings
from .info import stream_info
from .report import StreamForm, StreamInfo

if TYPE_CHECKING:
    from .files import Progress, StreamFiles
    from .report import Fault, SectionInfo

_END_OF_INPUT = "the end"
_BAD = (Severity.KILLS, Severity.FAILS, Severity.WARNING)


class Verdict(StrEnum):
    """What becomes of a QEMU 10.0 that is given the stream, and is set up for it."""

    LOADS = "loads"
    FAILS = "fails"
    """It refuses: `query-migrate` says ``failed``, or the process ends with status 1."""
    KILLS = "kills"
    """The process aborts, crashes or hangs."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What ``check`` found.

    Attributes:
        path: the file.
        verdict: what a receiving QEMU 10.0 does.
        reason: why, in one sentence; empty where it loads.
        fault: first bad byte and what was expected there, or None.
        complete_sections: sections that were read to their end.
        complete_blocks: names of RAM blocks that are whole.
        findings: what follows for a receiver, worst first.
        info: everything that was read.
    """

    path: str
    verdict: Verdict
    reason: str
    fault: Fault | None
    complete_sections: tuple[SectionInfo, ...]
    complete_blocks: tuple[str, ...]
    findings: tuple[Finding, ...]
    info: StreamInfo

    @property
    def ok(self) -> bool:
        """Whether it loads and nothing is worth a warning."""
        return self.fault is None and not any(f.severity in _BAD for f in self.findings)

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity is severity)


def check_stream(
    files: StreamFiles, machine: str | None = None, progress: Progress | None = None
) -> CheckReport:
    """Return whether the stream is whole, and what a QEMU 10.0 makes of it.

    Page contents are not looked at: nothing in a stream tells right ones from wrong ones.

    Args:
        files: the stream.
        machine: machine type of the receiver, concrete or an alias; None for that of the stream.
        progress: is told how far the file was read.

    Raises:
        StreamError: it does not even begin like a stream.
        ChannelError: a file cannot be read.
        MissingExtraError: its channels are packed in a way that needs another package.
    """
    info = stream_info(files, progress)
    found: list[Finding] = []
    if info.fault is not None:
        found.append(_broken(info, info.fault))
    if machine is not None:
        found += _other_machine(info, machine)
    found += findings(info)
    found.sort(key=lambda finding: list(Severity).index(finding.severity))
    verdict, reason = _verdict(found)
    return CheckReport(
        path=info.path,
        verdict=verdict,
        reason=reason,
        fault=info.fault,
        complete_sections=tuple(section for section in info.sections if section.complete),
        complete_blocks=tuple(block.name for block in info.blocks if block.complete),
        findings=tuple(found),
        info=info,
    )


def _verdict(found: list[Finding]) -> tuple[Verdict, str]:
    for severity, verdict in ((Severity.KILLS, Verdict.KILLS), (Severity.FAILS, Verdict.FAILS)):
        for finding in found:
            if finding.severity is severity:
                return verdict, finding.text
    return Verdict.LOADS, ""


def _broken(info: StreamInfo, fault: Fault) -> Finding:
    if info.ended:
        # What comes behind the end marker is not read by a receiver.
        text = f"Behind the end of the stream: expected {fault.expected}, found {fault.found}."
        return Finding("behind-the-end", Severity.WARNING, text, fault.offset)
    found = fault.found or ""
    if found.startswith(_END_OF_INPUT):
        what = "The stream is cut off: the load fails with an input/output error."
        if info.form is StreamForm.MAPPED_RAM:
            what += " A mapped-ram file tells which pages it holds only once it is finished."
        return Finding("cut-off", Severity.FAILS, what, fault.offset)
    text = f"The stream is malformed in {fault.section}: the load fails."
    return Finding("malformed", Severity.FAILS, text, fault.offset)


def _other_machine(info: StreamInfo, wanted: str) -> list[Finding]:
    """Compare as a receiver does: the stored name may be a prefix of its own."""
    if info.machine is None:
        return []
    try:
        name = machine_type(wanted).name
    except ConfigError:
        name = wanted  # of another architecture, or newer than the tables
    if name.startswith(info.machine):
        return []
    text = f"The stream is of machine {info.machine}, the receiver is {name}: the load fails."
    return [Finding("other-machine", Severity.FAILS, text)]
