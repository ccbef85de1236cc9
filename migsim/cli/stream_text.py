"""What the tools for state files found, as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from rich import box
from rich.table import Table
from rich.text import Text

from ..streamtool import Severity, StreamForm, Verdict
from ..units import format_size
from .console import output
from .stream_values import value_text
from .visible import visible

if TYPE_CHECKING:
    from rich.console import Console

    from ..streamtool import (
        BlockReport,
        CheckReport,
        ExtractedBlock,
        Fault,
        Finding,
        SectionInfo,
        ShownSection,
        ShownState,
        StreamInfo,
        WrittenStream,
    )

_FORMS: Final = {
    StreamForm.PLAIN: "a plain stream",
    StreamForm.MAPPED_RAM: "a mapped-ram stream",
    StreamForm.MULTIFD: "the main channel of a multifd stream",
    StreamForm.POSTCOPY: "a postcopy stream",
}
_VERDICTS: Final = {
    Verdict.LOADS: ("loads", "bold green"),
    Verdict.FAILS: ("does NOT load", "bold red"),
    Verdict.KILLS: ("KILLS the receiver", "bold white on red"),
}
_TITLES: Final = {
    Severity.KILLS: ("What kills the receiver", "bold red"),
    Severity.FAILS: ("Why it does not load", "bold red"),
    Severity.WARNING: ("Warnings", "bold yellow"),
    Severity.NEEDS: ("What a QEMU 10.0 needs to load it", "bold"),
    Severity.NOTE: ("Good to know", "bold"),
}


def print_info(info: StreamInfo) -> None:
    """Print what is in a stream."""
    console = output()
    console.print(_heading(info), soft_wrap=True)
    console.print()
    console.print(_facts(info))
    tables = (
        _blocks(info.blocks) if info.blocks else None,
        _channels(info) if info.channels else None,
        _sections(info.sections) if info.sections else None,
    )
    for table in tables:
        if table is not None:
            console.print()
            console.print(table)
    if info.fault is not None:
        _print_fault(console, info.fault)


def print_check(report: CheckReport) -> None:
    """Print the verdict and what it rests on."""
    console = output()
    info = report.info
    word, style = _VERDICTS[report.verdict]
    text = Text(f"{visible(info.path)}: ")
    text.append(word, style=style)
    console.print(text, soft_wrap=True)
    console.print(f"{_FORMS[info.form][:1].upper()}{_FORMS[info.form][1:]}, {_extent(info)}.")
    if report.fault is not None:
        _print_fault(console, report.fault)
        _print_complete(console, report)
    for severity in Severity:
        _print_findings(console, severity, report.of(severity))


def print_state(state: ShownState, *, whole: bool) -> None:
    """Print decoded state; ``whole`` prints long values in full."""
    console = output()
    if not state.sections and state.fault is None:
        console.print("no device state in the stream", soft_wrap=True)
    for number, section in enumerate(state.sections):
        if number:
            console.print()
        _print_section(console, section, whole=whole)
    if state.fault is not None:
        console.print()
        _print_fault(console, state.fault)


def print_extracted(result: ExtractedBlock) -> None:
    """Print what was extracted."""
    console = output()
    console.print(
        f"{visible(result.path)}: RAM block {visible(result.block)},"
        f" {format_size(result.size_bytes)} ({format_size(result.disk_bytes)} on disk)",
        markup=False,
        soft_wrap=True,
    )
    absent = f", {result.absent_pages:,} not in the stream" if result.absent_pages else ""
    console.print(
        f"  {result.content_pages:,} pages with content, {result.zero_pages:,} zero{absent}"
    )
    if result.fault is not None:
        _print_fault(console, result.fault)


def print_written(result: WrittenStream) -> None:
    """Print what was written."""
    console = output()
    place = f" at {result.offset:#x}" if result.offset else ""
    console.print(
        f"{visible(result.path)}: {_FORMS[result.form]}, {format_size(result.length_bytes)}{place}",
        markup=False,
        soft_wrap=True,
    )
    counts = {
        "with content": result.content_pages,
        "told to be zero": result.zero_pages,
        "not stored": result.silent_pages,
    }
    console.print(f"  pages: {', '.join(f'{n:,} {what}' for what, n in counts.items() if n)}")
    if result.dropped:
        console.print(f"  left out: {', '.join(result.dropped)}", soft_wrap=True)


# Parts


def _heading(info: StreamInfo) -> Text:
    text = Text(visible(info.path), style="bold")
    return text.append(f": {_FORMS[info.form]}, {_extent(info)}", style="not bold")


def _extent(info: StreamInfo) -> str:
    place = f" at {info.offset:#x}" if info.offset else ""
    if info.fault is not None and not info.ended:
        return f"{format_size(info.length_bytes)}{place}, then it breaks off"
    return f"{format_size(info.length_bytes)}{place}, whole"


def _facts(info: StreamInfo) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 2))
    for name, value in _fact_rows(info):
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def _fact_rows(info: StreamInfo) -> Iterable[tuple[str, str]]:
    yield "machine", visible(info.machine) if info.machine is not None else "not told"
    if info.run_state is not None:
        yield "run state", visible(info.run_state) + (", suspended" if info.was_suspended else "")
    yield "capabilities", ", ".join(info.capabilities) or "none that must be equal"
    if info.uuid is not None:
        yield "UUID", info.uuid
    blocks = f" in {_count(len(info.blocks), 'block')}" if info.blocks else ""
    yield "RAM", format_size(info.ram_bytes) + blocks
    if info.page_bytes != 4096:
        yield "page size", format_size(info.page_bytes)
    yield "devices", _devices(info)
    if info.commands:
        yield "commands", ", ".join(_times(c.name, c.count) for c in info.commands)
    if info.flushes:
        yield "multifd", _count(info.flushes, "sync point")
    if info.footers is False:
        yield "footers", "none"
    if info.wrapper is not None:
        state = "" if info.wrapper.complete else ", unfinished"
        yield "libvirt", f"wrapper of {format_size(info.wrapper.size_bytes)}{state}"
    if info.trailing_bytes:
        yield "behind it", f"{format_size(info.trailing_bytes)} that do not belong to it"


def _devices(info: StreamInfo) -> str:
    if info.description_bytes is None:
        return f"{len(info.devices)}, without a description"
    return f"{len(info.devices)}, description of {format_size(info.description_bytes)}"


def _blocks(blocks: tuple[BlockReport, ...]) -> Table:
    deltas = any(block.delta_records for block in blocks)
    columns = ["RAM block", "size", "pages", "content", "zero", "not sent", "records"]
    table = _table((*columns, "deltas") if deltas else columns, left=1)
    for block in blocks:
        name = Text(visible(block.name))
        if not block.in_stream:
            table.add_row(
                name, format_size(block.size_bytes), f"{block.pages:,}", "", "", "in its file", ""
            )
            continue
        counts = (block.pages, block.content_pages, block.zero_pages, block.absent_pages)
        records = block.normal_records + block.zero_records
        row = [format_size(block.size_bytes), *(f"{count:,}" for count in (*counts, records))]
        table.add_row(name, *row, *([f"{block.delta_records:,}"] if deltas else []))
    return table


def _channels(info: StreamInfo) -> Table:
    table = _table(("channel", "number", "packets", "content", "zero", "compression"), left=1)
    for channel in info.channels:
        counts = (channel.number, channel.packets, channel.normal_pages, channel.zero_pages)
        row = [f"{count:,}" for count in counts]
        table.add_row(Text(visible(channel.file)), *row, channel.compression or "-")
    return table


def _sections(sections: tuple[SectionInfo, ...]) -> Table:
    table = _table(("section", "id", "instance", "version", "offset", "bytes", ""), left=1)
    table.columns[-1].justify = "left"
    for section in sections:
        table.add_row(
            Text(visible(section.name)),
            str(section.section_id),
            f"{section.instance_id:,}",
            str(section.version),
            f"{section.offset:#x}",
            f"{section.size_bytes:,}",
            _remark(section),
        )
    return table


def _remark(section: SectionInfo) -> str:
    parts = _count(section.parts, "part") if section.iterable else ""
    if section.complete:
        return parts
    return f"{parts}, no last one" if parts else "cut off"


def _print_fault(console: Console, fault: Fault) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 2))
    style = "bold red"
    where = f"{fault.offset:#x} ({fault.offset:,}) in {visible(fault.section)}"
    table.add_row(Text("first bad byte", style=style), Text(where))
    table.add_row(Text("expected", style=style), Text(visible(fault.expected)))
    if fault.found is not None:
        table.add_row(Text("found", style=style), Text(visible(fault.found)))
    console.print()
    console.print(table)


def _print_complete(console: Console, report: CheckReport) -> None:
    """Tell what could be saved."""
    info = report.info
    console.print("\nWhole before it", style="bold")
    devices = [section for section in report.complete_sections if not section.iterable]
    names = ", ".join(visible(section.name) for section in devices)
    console.print(f"  {_count(len(devices), 'device')}{': ' if names else ''}{names}", markup=False)
    for block in info.blocks:
        known = block.content_pages + block.zero_pages
        state = "whole" if block.complete else f"{known:,} of {block.pages:,} pages"
        if not block.in_stream and not block.complete:
            state = f"none of {block.pages:,} pages"
        console.print(f"  RAM block {visible(block.name)}: {state}", markup=False)


def _print_findings(console: Console, severity: Severity, found: tuple[Finding, ...]) -> None:
    if not found:
        return
    title, style = _TITLES[severity]
    console.print()
    console.print(title, style=style)
    for finding in found:
        place = f" (at {finding.offset:#x})" if finding.offset is not None else ""
        console.print(f"  {visible(finding.text)}{place}", markup=False, soft_wrap=True)


def _print_section(console: Console, section: ShownSection, *, whole: bool) -> None:
    text = Text(visible(section.name), style="bold")
    instance = f"#{section.instance_id}" if section.instance_id else ""
    place = f"  version {section.version}, {section.size_bytes:,} bytes at {section.offset:#x}"
    undescribed = "" if section.described else ", not described"
    text.append(f"{instance}{place}{undescribed}", style="not bold dim")
    console.print(text, soft_wrap=True)
    width = min(40, max((len(field.path) for field in section.fields), default=0))
    for field in section.fields:
        line = Text(f"  {visible(field.path):<{width}}  ")
        line.append(f"{field.type:<12} ", style="dim")
        line.append(value_text(field, whole=whole))
        console.print(line, soft_wrap=True)


def _table(columns: Iterable[str], left: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", no_wrap=number > 0)
    return table


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _times(name: str, count: int) -> str:
    return name if count == 1 else f"{name} x {count}"
