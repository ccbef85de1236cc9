"""A strict, incremental reader of migration streams (spec stream.md section 14)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..errors import StreamError
from ..qapi.enums import Capability
from .blocks import ListForm
from .device_reader import DeviceReader
from .footers import Footers
from .items import (
    BlockInfo,
    Command,
    Configuration,
    Description,
    EndMarker,
    Header,
    Item,
    OpaquePart,
    SectionBegin,
    SectionEnd,
    Trailing,
)
from .names import read_name
from .options import QEMU_DEFAULTS, StreamOptions
from .ram_reader import RamReader
from .section_reader import read_configuration
from .source import ByteSource, open_source
from .wire import (
    COMMAND_HEADER,
    COMMAND_LENGTHS,
    COMMANDS_MAX,
    FILE_HEADER,
    FILE_MAGIC,
    FILE_VERSION,
    POSTCOPY_ADVICE,
    RAM_SECTION,
    RAM_VERSION,
    SECTION_NUMBERS,
    SECTIONS_MAX,
    U32,
    VMDESC_BYTES_MAX,
    CommandKind,
    SectionType,
)

if TYPE_CHECKING:
    from ..channel.base import InputChannel
    from .device_reader import LocalValues, Lookup
    from .ram_reader import PageChannels

_NAMED = (SectionType.START, SectionType.FULL)
_NUMBERED = (SectionType.PART, SectionType.END)
_FIRST = (SectionType.START, SectionType.FULL, SectionType.COMMAND, SectionType.EOF)


class StreamReader:
    """Yields the items of one stream, in order, as it is read.

    Device sections are decoded where ``describe`` knows them.  Others are carried as bytes: their
    length comes from the description at the end where the input can be seeked and has one, else
    from the footers.

    Every length is checked against what is left before anything is made of it.  Whether the stream
    fits a machine (its type, capabilities, RAM blocks, run state) is for the caller to decide.
    Page contents are valid until the next item is asked for; everything else may be kept.

    Args:
        channel: the input, or a source over it; its position is the stream's first byte.
        describe: returns the description of a device section by name and instance id, or None.
        local: returns the values that the device has here, which the ``equal`` kinds of field are
            compared with and which stay where the stream says nothing.
        keep_order: yield page batches exactly as the records lie, which copying needs; otherwise
            pages of one stretch may be put together by kind, which is faster.
        options: what the stream has to have; by default what a QEMU expects.
        channels: the multifd channels that belong to the stream, if there are any; their pages
            come at the synchronisation points.
        leave: tells of a block of a mapped-ram file that its pages are not to be read, for who
            takes them from the file himself.

    Raises:
        StreamError: while iterating, at anything malformed, cut off or not understood.
        ChannelError: while iterating, when the input breaks.
    """

    def __init__(
        self,
        channel: InputChannel | ByteSource,
        describe: Lookup | None = None,
        *,
        local: LocalValues | None = None,
        keep_order: bool = False,
        options: StreamOptions = QEMU_DEFAULTS,
        channels: PageChannels | None = None,
        leave: Callable[[BlockInfo], bool] | None = None,
    ) -> None:
        self._source = open_source(channel)
        self._options = options
        self._configured = options.configuration
        self._iterable: dict[int, SectionBegin] = {}
        self._full_ids: set[int] = set()
        self._commands = 0
        self._package_end: int | None = None
        self._footers = Footers(self._source, options.footers, self._iterable)
        self._devices = DeviceReader(self._source, self._footers, describe, local)
        form = ListForm(1 << options.page_bits)
        self._ram = RamReader(
            self._source, form, keep_order=keep_order, channels=channels, leave=leave
        )
        self._channels = channels
        self._lookups = (describe, local)
        self._begun = False

    def go_on(self, channel: InputChannel) -> StreamReader:
        """Return a reader of a channel over which this stream goes on behind a break.

        There is no second header; sections and blocks are known (postcopy recovery).
        """
        describe, local = self._lookups
        other = StreamReader(channel, describe, local=local, options=self.options)
        other._begun = True
        other._iterable.update(self._iterable)
        other._full_ids.update(self._full_ids)
        other._ram.take_over(self._ram)
        return other

    @property
    def position(self) -> int:
        """Offset in the source of the next byte."""
        return self._source.position

    @property
    def options(self) -> StreamOptions:
        """What the stream has turned out to have, as far as it was read."""
        page_bits = self._ram.form.page_bytes.bit_length() - 1
        return StreamOptions(self._footers.present, self._configured, page_bits)

    def __iter__(self) -> Iterator[Item]:
        """Yield everything from the header to what is behind the end; once only."""
        try:
            yield from self._items()
        except MemoryError:
            # All lengths have limits, but a process may have been given less than those.
            raise self._error("as much memory as the stream needs", "less") from None

    def _items(self) -> Iterator[Item]:
        if not self._begun:
            yield self._header()
            configuration = self._configuration()
            if configuration is not None:
                yield configuration
            self._expect_blocks(configuration)
        while (kind := self._next_type()) is not SectionType.EOF:
            yield from self._section(kind)
        if self._package_end is not None:
            raise self._error("the rest of the package", "the end marker", back=1)
        if self._channels is not None:
            self._channels.finish()
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

    def _configuration(self) -> Configuration | None:
        offset = self.position
        view = self._source.window(1)
        if not view:
            raise self._source.truncated("configuration", "a configuration section", 0)
        if self._configured is None:
            self._configured = view[0] not in _FIRST
        if not self._configured:
            return None
        if view[0] != SectionType.CONFIGURATION:
            found = f"{view[0]:#04x}"
            raise StreamError(offset, "configuration", "a configuration section", found)
        self._source.advance(1)
        return read_configuration(self._source, offset)

    def _expect_blocks(self, configuration: Configuration | None) -> None:
        """Tell the reader of ram what the configuration says about its block list."""
        form = self._ram.form
        if configuration is None:
            form.addresses = form.mapped = None
            return
        capabilities = configuration.capabilities or ()
        form.addresses = Capability.X_IGNORE_SHARED in capabilities
        form.mapped = Capability.MAPPED_RAM in capabilities
        if form.addresses and form.mapped:
            expected, found = "mapped-ram or x-ignore-shared", "both, which no QEMU can load"
            raise StreamError(configuration.offset, "configuration", expected, found)
        if configuration.page_bits is not None:
            form.page_bytes = 1 << configuration.page_bits

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
        if source.size_bytes is not None and (left := source.size_bytes - self.position) > 0:
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
            yield self._devices.read(begin, self._package_left())
        else:
            self._start(begin)
            yield from self._opaque_part(begin)

    def _start(self, begin: SectionBegin) -> None:
        if len(self._iterable) == SECTIONS_MAX:
            expected = f"at most {SECTIONS_MAX} iterable sections"
            raise StreamError(begin.offset, begin.name, expected, "one more")
        self._iterable[begin.section_id] = begin

    def _start_ram(self, begin: SectionBegin) -> Iterator[Item]:
        if begin.version != RAM_VERSION or begin.instance_id != 0:
            expected = f"version {RAM_VERSION} of instance 0"
            found = f"version {begin.version} of instance {begin.instance_id}"
            raise StreamError(begin.offset, RAM_SECTION, expected, found)
        self._start(begin)
        yield from self._ram_part(begin)

    def _numbered_section(self, kind: SectionType, offset: int) -> Iterator[Item]:
        section_id = self._section_id()
        start = self._iterable.get(section_id)
        if start is None:
            expected = "the id of a section that was started"
            raise StreamError(offset, "section", expected, str(section_id))
        begin = SectionBegin(offset, kind, section_id, start.name, start.instance_id, start.version)
        yield from self._ram_part(begin) if start.name == RAM_SECTION else self._opaque_part(begin)

    def _ram_part(self, begin: SectionBegin) -> Iterator[Item]:
        yield begin
        yield from self._ram.part()
        yield self._section_end(begin)

    def _opaque_part(self, begin: SectionBegin) -> Iterator[Item]:
        """Take a part of an iterable section that is not understood, up to its footer."""
        yield begin
        offset = self.position
        if self._footers.present is False:
            expected = "an iterable section whose length is known (ram)"
            raise StreamError(begin.offset, begin.name, expected, f"{begin.name} without footers")
        size = self._footers.find(begin.name, begin.section_id, self._package_left())
        yield OpaquePart(offset, bytes(self._source.take(size, begin.name, "a part")))
        yield self._section_end(begin)

    def _section_end(self, begin: SectionBegin) -> SectionEnd:
        offset = self.position
        self._footers.take(begin.name, begin.section_id)
        return SectionEnd(offset, begin.section_id)

    # Commands

    def _command(self, offset: int) -> Command:
        raw = self._source.take(COMMAND_HEADER.size - 1, "command", "a command header")
        _, number, size = COMMAND_HEADER.unpack(bytes((SectionType.COMMAND,)) + raw)
        self._commands += 1
        if number not in COMMAND_LENGTHS or self._commands > COMMANDS_MAX:
            expected = f"a known command, one of at most {COMMANDS_MAX}"
            raise StreamError(offset, "command", expected, str(number))
        lengths = COMMAND_LENGTHS[CommandKind(number)]
        if lengths is not None and size not in lengths:
            expected = f"{' or '.join(map(str, lengths))} bytes of {CommandKind(number).name}"
            raise StreamError(offset, "command", expected, f"{size} bytes")
        data = bytes(self._source.take(size, "command", "command data"))
        if number == CommandKind.PACKAGED:
            self._begin_package(data, offset)
        elif number == CommandKind.POSTCOPY_ADVISE and data:
            self._ram.form.host_pages_bytes = POSTCOPY_ADVICE.unpack(data)[0]
        return Command(offset, number, data)

    def _begin_package(self, data: bytes, offset: int) -> None:
        if self._package_end is not None:
            raise StreamError(offset, "command", "no package inside a package")
        self._package_end = self.position + int(U32.unpack(data)[0])

    def _package_left(self) -> int | None:
        return None if self._package_end is None else max(0, self._package_end - self.position)

    def _error(self, expected: str, found: str, back: int = 0) -> StreamError:
        return StreamError(self.position - back, "section", expected, found)
