"""A strict, incremental reader of migration streams (spec stream.md section 14)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from ..errors import StreamError
from ..qapi.enums import Capability
from .items import (
    Command,
    Configuration,
    Description,
    DeviceSection,
    EndMarker,
    Header,
    Item,
    SectionBegin,
    SectionEnd,
    Trailing,
)
from .names import read_name
from .ram_reader import RamReader
from .section_reader import read_configuration, read_state
from .source import MappedSource, open_source
from .vmdesc import Found, body_bytes, find_description
from .wire import (
    COMMAND_HEADER,
    COMMAND_LENGTHS,
    FILE_HEADER,
    FILE_MAGIC,
    FILE_VERSION,
    RAM_SECTION,
    RAM_VERSION,
    SECTION_ID,
    SECTION_NUMBERS,
    U32,
    VMDESC_BYTES_MAX,
    CommandKind,
    SectionType,
)

if TYPE_CHECKING:
    from ..channel.base import InputChannel
    from ..vmstate.fields import Value, VMStateDescription

    Lookup = Callable[[str, int], VMStateDescription | None]
    LocalValues = Callable[[str, int], Mapping[str, Value] | None]

_NAMED = (SectionType.START, SectionType.FULL)
_NUMBERED = (SectionType.PART, SectionType.END)


class StreamReader:
    """Yields the items of one stream, in order, as it is read.

    Device sections are decoded where ``describe`` knows them.  Others are carried as bytes when the
    input is mapped and ends with a description that tells their size; from a pipe that is an error.

    Every length is checked against what is left before anything is made of it.  Whether the stream
    fits a machine (its type, capabilities, RAM blocks, run state) is for the caller to decide.

    Args:
        channel: the input; its position is the stream's first byte.
        describe: returns the description of a device section by name and instance id, or None.
        local: returns the values that the device has here, which the ``equal`` kinds of field are
            compared with and which stay where the stream says nothing.
        keep_order: yield page batches exactly as the records lie, which copying needs; otherwise
            pages of one stretch may be put together by kind, which is faster.

    Raises:
        StreamError: while iterating, at anything malformed, cut off or not understood.
        ChannelError: while iterating, when the input breaks.
    """

    def __init__(
        self,
        channel: InputChannel,
        describe: Lookup | None = None,
        *,
        local: LocalValues | None = None,
        keep_order: bool = False,
    ) -> None:
        self._source = open_source(channel)
        self._describe = describe
        self._local = local
        self._keep_order = keep_order
        self._start = channel.position
        self._ram: RamReader | None = None
        self._iterable: dict[int, SectionBegin] = {}
        self._full_ids: set[int] = set()
        self._full_count = 0
        self._found: Found | None = None
        self._package_end: int | None = None

    @property
    def position(self) -> int:
        """Offset in the source of the next byte."""
        return self._source.position

    def __iter__(self) -> Iterator[Item]:
        """Yield everything from the header to what is behind the end; once only."""
        yield self._header()
        configuration = self._configuration()
        yield configuration
        self._ram = self._ram_reader(configuration)
        while (kind := self._next_type()) is not SectionType.EOF:
            yield from self._section(kind)
        if self._package_end is not None:
            raise self._error("the rest of the package", "the end marker", back=1)
        yield EndMarker(self.position - 1)
        yield from self._end()

    # Beginning and end

    def _header(self) -> Header:
        offset = self.position
        raw = self._source.take(FILE_HEADER.size, "header", "magic and version")
        magic, version = FILE_HEADER.unpack(raw)
        if magic != FILE_MAGIC:
            raise StreamError(offset, "header", "the magic number QEVM", f"{magic:#010x}")
        if version != FILE_VERSION:
            raise StreamError(offset + 4, "header", f"version {FILE_VERSION}", str(version))
        return Header(offset, version)

    def _configuration(self) -> Configuration:
        offset = self.position
        kind = self._source.take(1, "configuration", "a configuration section")[0]
        if kind != SectionType.CONFIGURATION:
            raise StreamError(offset, "configuration", "a configuration section", f"{kind:#04x}")
        return read_configuration(self._source, offset)

    def _ram_reader(self, configuration: Configuration) -> RamReader:
        capabilities = configuration.capabilities or ()
        if Capability.MAPPED_RAM in capabilities:
            expected = "RAM as page records"
            raise StreamError(configuration.offset, "configuration", expected, "mapped-ram")
        return RamReader(
            self._source,
            addresses=Capability.X_IGNORE_SHARED in capabilities,
            keep_order=self._keep_order,
        )

    def _end(self) -> Iterator[Item]:
        source = self._source
        if source.at_end:
            return
        offset = self.position
        if source.window(1)[0] == SectionType.VMDESCRIPTION:
            source.advance(1)
            (size,) = U32.unpack(source.take(U32.size, "vmdesc", "a length"))
            if size > VMDESC_BYTES_MAX:
                expected = f"a description of at most {VMDESC_BYTES_MAX} bytes"
                raise StreamError(offset + 1, "vmdesc", expected, str(size))
            raw = source.take(size, "vmdesc", f"{size} bytes of description")
            yield Description(offset, bytes(raw))
        if isinstance(source, MappedSource) and (left := len(source.window())):
            yield Trailing(self.position, left)

    # Sections

    def _next_type(self) -> SectionType:
        if self._package_end is not None and self.position >= self._package_end:
            if self.position > self._package_end:
                raise self._error("a section that ends with its package", "one that goes on")
            self._package_end = None
        offset = self.position
        raw = self._source.take(1, "section", "a section or the end marker")[0]
        try:
            return SectionType(raw)
        except ValueError:
            raise StreamError(offset, "section", "a section type", f"{raw:#04x}") from None

    def _section(self, kind: SectionType) -> Iterator[Item]:
        offset = self.position - 1
        if kind in _NAMED:
            yield from self._named_section(kind, offset)
        elif kind in _NUMBERED:
            yield from self._numbered_section(kind, offset)
        elif kind is SectionType.COMMAND:
            yield self._command(offset)
        else:
            raise StreamError(offset, "section", "a section or command", kind.name)

    def _section_id(self) -> int:
        (section_id,) = U32.unpack(self._source.take(U32.size, "section", "a section id"))
        return int(section_id)

    def _named_section(self, kind: SectionType, offset: int) -> Iterator[Item]:
        section_id = self._section_id()
        name = read_name(self._source, "section", "a section name")
        raw = self._source.take(SECTION_NUMBERS.size, name, "instance id and version")
        instance_id, version = SECTION_NUMBERS.unpack(raw)
        begin = SectionBegin(offset, kind, section_id, name, instance_id, version)
        taken = section_id in self._iterable
        if taken or (kind is SectionType.START and section_id in self._full_ids):
            raise StreamError(offset, name, "a section id of its own", f"{section_id} again")
        if name == RAM_SECTION:
            yield from self._start_ram(begin)
        elif kind is SectionType.FULL:
            self._full_ids.add(section_id)
            yield self._device(begin)
        else:
            raise StreamError(offset, name, "an iterable section that is known (ram)", name)

    def _start_ram(self, begin: SectionBegin) -> Iterator[Item]:
        if begin.version != RAM_VERSION or begin.instance_id != 0:
            expected = f"version {RAM_VERSION} of instance 0"
            found = f"version {begin.version} of instance {begin.instance_id}"
            raise StreamError(begin.offset, RAM_SECTION, expected, found)
        self._iterable[begin.section_id] = begin
        yield from self._ram_part(begin)

    def _numbered_section(self, kind: SectionType, offset: int) -> Iterator[Item]:
        section_id = self._section_id()
        start = self._iterable.get(section_id)
        if start is None:
            expected = "the id of a section that was started"
            raise StreamError(offset, "section", expected, str(section_id))
        yield from self._ram_part(
            SectionBegin(offset, kind, section_id, start.name, start.instance_id, start.version)
        )

    def _ram_part(self, begin: SectionBegin) -> Iterator[Item]:
        yield begin
        assert self._ram is not None
        yield from self._ram.part()
        offset = self.position
        self._footer(begin.name, begin.section_id)
        yield SectionEnd(offset, begin.section_id)

    def _footer(self, section: str, section_id: int) -> None:
        offset = self.position
        raw = self._source.take(SECTION_ID.size, section, "a section footer")
        if raw != SECTION_ID.pack(SectionType.FOOTER, section_id):
            expected = f"the footer of section {section_id}"
            raise StreamError(offset, section, expected, bytes(raw).hex(" "))

    def _command(self, offset: int) -> Command:
        raw = self._source.take(COMMAND_HEADER.size - 1, "command", "a command header")
        _, number, size = COMMAND_HEADER.unpack(bytes((SectionType.COMMAND,)) + raw)
        try:
            lengths = COMMAND_LENGTHS[CommandKind(number)]
        except ValueError:
            raise StreamError(offset, "command", "a known command", str(number)) from None
        if lengths is not None and size not in lengths:
            expected = f"{' or '.join(map(str, lengths))} bytes of {CommandKind(number).name}"
            raise StreamError(offset, "command", expected, f"{size} bytes")
        data = bytes(self._source.take(size, "command", "command data"))
        if number == CommandKind.PACKAGED:
            self._begin_package(data, offset)
        return Command(offset, number, data)

    def _begin_package(self, data: bytes, offset: int) -> None:
        if self._package_end is not None:
            raise StreamError(offset, "command", "no package inside a package")
        self._package_end = self.position + int(U32.unpack(data)[0])

    # Devices

    def _device(self, begin: SectionBegin) -> DeviceSection:
        index, self._full_count = self._full_count, self._full_count + 1
        description = self._describe(begin.name, begin.instance_id) if self._describe else None
        values, entry = None, None
        if description is not None:
            local = self._local(begin.name, begin.instance_id) if self._local else None
            values, body = read_state(
                self._source, description, begin.version, begin.name, local=local
            )
        else:
            entry = self._entry(begin, index)
            view = self._source.window()
            body = view[: body_bytes(entry, view, begin.name, self.position)]
            self._source.advance(len(body))
        self._footer(begin.name, begin.section_id)
        return DeviceSection(
            begin.offset,
            begin.name,
            begin.instance_id,
            begin.version,
            begin.section_id,
            body,
            values,
            entry,
        )

    def _entry(self, begin: SectionBegin, index: int) -> Mapping[str, object]:
        """Return what the description at the end says of the ``index``-th device section."""
        expected = "a device section whose description is known"
        if not isinstance(self._source, MappedSource):
            found = f"{begin.name}, and a pipe cannot be searched for the description at its end"
            raise StreamError(begin.offset, begin.name, expected, found)
        if self._found is None:
            self._found = find_description(self._source.whole, self.position)
        if self._found is None:
            found = f"{begin.name}, and no description at the end of the input"
            raise StreamError(begin.offset, begin.name, expected, found)
        devices = self._found.devices
        entry = devices[index] if index < len(devices) else {}
        if (entry.get("name"), entry.get("instance_id")) != (begin.name, begin.instance_id):
            expected = f"entry {index} of the description to be of {begin.name}"
            raise StreamError(begin.offset, begin.name, expected, str(entry.get("name")))
        return entry

    def _error(self, expected: str, found: str, back: int = 0) -> StreamError:
        return StreamError(self.position - back, "section", expected, found)
