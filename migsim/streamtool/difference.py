"""What is different between two streams, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .compare_ram import PageRanges
    from .compare_state import FieldDifference, Side


@dataclass(frozen=True, slots=True)
class FactDifference:
    """Something about the whole stream that is not the same: machine, capabilities, ...

    Attributes:
        name: what it is.
        a: in the first stream, None where it says nothing.
        b: in the second stream.
    """

    name: str
    a: str | None
    b: str | None


@dataclass(frozen=True, slots=True)
class SectionDifference:
    """A section that is not the same, or that only one stream has.

    Attributes:
        name: section name.
        instance_id: tells sections of one name apart.
        side: the stream that has it.
        version_a: version in the first stream, None where it has none.
        version_b: version in the second stream.
        size_a: bytes of the state in the first stream; None of parts of an iterable section.
        size_b: bytes of the state in the second stream.
        fields: what differs in the state.
    """

    name: str
    instance_id: int
    side: Side
    version_a: int | None
    version_b: int | None
    size_a: int | None
    size_b: int | None
    fields: tuple[FieldDifference, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockDifference:
    """A RAM block that is not the same, or that only one stream has.

    Attributes:
        name: block name.
        side: the stream that has it.
        size_a: used length in the first stream, None where it has none.
        size_b: used length in the second stream.
        compared: its pages were compared, as far as both have them.
        pages: how many were compared.
        different_pages: how many of them differ.
        ranges: which ones.
    """

    name: str
    side: Side
    size_a: int | None
    size_b: int | None
    compared: bool
    pages: int
    different_pages: int
    ranges: PageRanges | None


@dataclass(frozen=True, slots=True)
class StreamDifference:
    """What is different between two streams.

    Attributes:
        a: the first file.
        b: the second file.
        facts: what the streams say of the whole.
        sections: sections that differ.
        blocks: RAM blocks that differ.
        same_sections: how many sections are the same.
        ram_compared: pages were compared.
        not_comparable: RAM blocks whose pages lie in files of their own (x-ignore-shared).
    """

    a: str
    b: str
    facts: tuple[FactDifference, ...]
    sections: tuple[SectionDifference, ...]
    blocks: tuple[BlockDifference, ...]
    same_sections: int
    ram_compared: bool
    not_comparable: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing was found that differs."""
        return not (self.facts or self.sections or self.blocks)
