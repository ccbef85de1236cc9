"""What differs between two state files, as text."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from rich.text import Text

from ..streamtool import Side
from ..units import format_size
from .console import output
from .stream_values import text_of
from .visible import visible

if TYPE_CHECKING:
    from rich.console import Console

    from ..streamtool import (
        BlockDifference,
        FieldDifference,
        SectionDifference,
        ShownValue,
        StreamDifference,
    )

_RANGES_SHOWN = 12
_PLACES_SHOWN = 6
_FIELDS_SHOWN = 12
_SIDES: Final = {Side.A: ("only in A", "red"), Side.B: ("only in B", "green")}


def print_difference(difference: StreamDifference) -> None:
    """Print what differs."""
    console = output()
    console.print(f"A  {visible(difference.a)}", markup=False, soft_wrap=True)
    console.print(f"B  {visible(difference.b)}", markup=False, soft_wrap=True)
    console.print()
    for fact in difference.facts:
        line = Text(f"{fact.name}: ")
        line.append(visible(fact.a or "none"), style="red").append(" / ")
        console.print(line.append(visible(fact.b or "none"), style="green"), soft_wrap=True)
    for section in difference.sections:
        _print_section(console, section)
    for block in difference.blocks:
        _print_block(console, block)
    if difference.not_comparable:
        names = ", ".join(visible(name) for name in difference.not_comparable)
        console.print(f"RAM block {names}: not in the stream, not compared", markup=False)
    console.print(_summary(difference), soft_wrap=True)


def _summary(difference: StreamDifference) -> Text:
    same = f"{difference.same_sections} sections are the same"
    ram = "" if difference.ram_compared else "; RAM contents were not compared (--ram)"
    if difference.same:
        return Text(f"No difference: {same}{ram}.", style="green")
    count = len(difference.sections)
    return Text(f"{count} section{'' if count == 1 else 's'} differ, {same}{ram}.")


def _print_section(console: Console, section: SectionDifference) -> None:
    line = Text(visible(section.name), style="bold")
    if section.instance_id:
        line.append(f"#{section.instance_id}")
    if section.side in _SIDES:
        text, style = _SIDES[section.side]
        console.print(line.append(f"  {text}", style=f"not bold {style}"), soft_wrap=True)
        return
    if section.version_a != section.version_b:
        line.append(f"  version {section.version_a} / {section.version_b}", style="not bold yellow")
    console.print(line, soft_wrap=True)
    for field in section.fields[:_FIELDS_SHOWN]:
        console.print(_field(field), soft_wrap=True)
    if len(section.fields) > _FIELDS_SHOWN:
        console.print(f"  ... {len(section.fields) - _FIELDS_SHOWN} more fields", style="dim")


def _field(field: FieldDifference) -> Text:
    line = Text(f"  {visible(field.path)}  ")
    if field.side in _SIDES:
        text, style = _SIDES[field.side]
        return line.append(text, style=style)
    if field.places:
        unit = "byte" if isinstance(field.a, bytes) else "element"
        places = ", ".join(_range(place) for place in field.places[:_PLACES_SHOWN])
        more = ", ..." if len(field.places) > _PLACES_SHOWN else ""
        line.append(f"{unit} {places}{more}: ", style="dim")
        first, last = field.places[0]
        line.append(_part(field.a, first, last), style="red").append(" / ")
        return line.append(_part(field.b, first, last), style="green")
    line.append(text_of(field.a), style="red").append(" / ")
    return line.append(text_of(field.b), style="green")


def _part(value: ShownValue, first: int, last: int) -> str:
    """Return the first part of a long value that differs."""
    assert isinstance(value, bytes | tuple)  # only such have places
    part = value[first : last + 1]
    return text_of(part[0]) if isinstance(part, tuple) and len(part) == 1 else text_of(part)


def _print_block(console: Console, block: BlockDifference) -> None:
    line = Text("RAM block ").append(visible(block.name), style="bold")
    if block.side in _SIDES:
        text, style = _SIDES[block.side]
        console.print(line.append(f"  {text}", style=style), soft_wrap=True)
        return
    if block.size_a is not None and block.size_b is not None and block.size_a != block.size_b:
        line.append(f"  {format_size(block.size_a)} / {format_size(block.size_b)}", style="yellow")
    if block.ranges is None:
        console.print(line, soft_wrap=True)
        return
    line.append(f"  {block.different_pages:,} of {block.pages:,} pages differ")
    console.print(line, soft_wrap=True)
    shown = list(islice(block.ranges, _RANGES_SHOWN + 1))
    if shown:
        more = ", ..." if len(shown) > _RANGES_SHOWN else ""
        pages = ", ".join(_range(place) for place in shown[:_RANGES_SHOWN])
        console.print(f"  pages {pages}{more}", soft_wrap=True)


def _range(place: tuple[int, int]) -> str:
    first, last = place
    return f"{first}" if first == last else f"{first}-{last}"
