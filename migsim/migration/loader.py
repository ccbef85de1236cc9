"""Loading a stream into a machine: all of it, or nothing.

A source that can be seeked is walked once without touching the machine, which finds everything that
can be wrong with it; then it is read again and applied.  A source that can be read only once, or
one for RAM that nobody has written to yet, is applied while it is read, under a journal that undoes
it.  Checks are those of spec stream.md
section 14 and of the receiving QEMU (spec interop.md section 2.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..channel.file import FileInput
from ..channel.group import InputGroup
from ..errors import AbortError, IncompatibleError, StreamError
from ..qapi.enums import Capability, RunState
from ..qapi.transitions import runstate_allows
from ..ram.journal import RamJournal
from ..stream.items import (
    BlockInfo,
    Command,
    Configuration,
    DeviceSection,
    EndMarker,
    Item,
    OpaquePart,
    PageBatch,
    RamBlocks,
)
from ..stream.mapped_ram import read_stored
from ..stream.multifd import MultifdChannels
from ..stream.multifd_live import LiveChannels
from ..stream.multifd_writer import NO_UUID
from ..stream.options import StreamOptions
from ..stream.postcopy import decode_bitmap_wish, decode_discard
from ..stream.reader import StreamReader
from ..stream.source import ByteSource
from ..stream.wire import U32, CommandKind
from ..stream.xbzrle_records import XbzrleBatch
from ..units import PAGE_BITS, PAGE_SIZE
from ..vmstate.common import GLOBALSTATE, read_globalstate
from .answers import Replies
from .environment import MachineView
from .postcopy_target import PostcopyTarget

if TYPE_CHECKING:
    from ..channel.base import InputChannel
    from ..guest.devices import Device
    from ..ram.block import RAMBlock
    from ..stream.ram_reader import PageChannels
    from ..vmstate.fields import Value, VMStateDescription


class LoaderView(MachineView, Protocol):
    """The machine, as the loader sees it."""

    def find_device(self, name: str, instance_id: int) -> Device | None:
        """Return the device of that section, or None."""
        ...

    @property
    def adopts_devices(self) -> bool:
        """Whether sections of unknown devices are carried as they are, not refused."""
        ...

    def expects_pages(self, block: RAMBlock) -> bool:
        """Whether the stream may have pages of ``block``."""
        ...

    def adopt_devices(self, sections: Sequence[DeviceSection]) -> None:
        """Carry these sections from now on, instead of any carried before."""
        ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a stream said beyond RAM and devices.

    Attributes:
        runstate: the guest's run state before it was stopped; running if the stream is silent.
        was_suspended: the guest was suspended, and then stopped by the user.
        size_bytes: length of the stream.
    """

    runstate: RunState
    was_suspended: bool
    size_bytes: int


@dataclass(slots=True)
class _Findings:
    """What a walk over the stream has met so far."""

    runstate: RunState = RunState.RUNNING
    was_suspended: bool = False
    end: int = 0
    pages: dict[str, int] = field(default_factory=dict)
    sections: list[tuple[Device, DeviceSection]] = field(default_factory=list)
    adopted: list[DeviceSection] = field(default_factory=list)


class Switchover(Protocol):
    """Who is told of the steps of a postcopy while its stream is read, from wherever that is."""

    def listening(self) -> None:
        """The package has begun: there is no way back."""
        ...

    def run(self, loaded: Loaded) -> None:
        """Devices are loaded: the guest is to run while its RAM arrives."""
        ...

    def resumed(self) -> None:
        """Pages come again."""
        ...

    def wake(self) -> None:
        """A page that the guest waits for has arrived."""
        ...


def load_stream(
    origin: InputChannel | InputGroup, vm: LoaderView, replies: Replies | None = None
) -> Loaded:
    """Load the stream that ``origin`` gives into ``vm`` and return what else it said.

    ``replies`` answers the source where the stream asks for it.

    Raises:
        StreamError: the bytes are malformed or cut off.
        IncompatibleError: they belong to another machine, RAM layout or set of capabilities.
        DeviceError: a device refused its state.
        ChannelError: the source broke.
        AbortError: strict profile, where QEMU itself aborts.

    After any of these the machine is as it was.
    """
    group = origin if isinstance(origin, InputGroup) else InputGroup(origin)
    return Loader(group, vm, replies or Replies(group.main)).run()


class Loader:
    """Loads one stream, over one group of channels after the other if postcopy is interrupted.

    ``switchover`` is told when the guest is to run before all of its RAM is there; without it, a
    stream of a postcopy is loaded like any other.
    """

    def __init__(
        self,
        group: InputGroup,
        vm: LoaderView,
        replies: Replies,
        switchover: Switchover | None = None,
    ) -> None:
        self._switchover = switchover
        self._postcopy: PostcopyTarget | None = None
        self._reader: StreamReader | None = None
        self._loaded: Loaded | None = None
        self._found = _Findings()
        self._channel = group.main
        self._group = group
        self._vm = vm
        self._replies = replies
        self._start = group.main.position
        self._channels: PageChannels | None = None
        self._ignore_shared = Capability.X_IGNORE_SHARED in vm.capabilities

    @property
    def in_postcopy(self) -> bool:
        """Whether the guest runs here already."""
        return self._loaded is not None

    def run(self) -> Loaded:
        """Load the stream; raises as `load_stream`, but undoes nothing once the guest runs."""
        journal = RamJournal(block for block in self._vm.ram if block.migratable)
        if self._channel.seekable() is not None and not self._all_fresh():
            # Found by walking headers alone; nothing that can fail is left but the devices.
            self._walk(None, _Findings())
        found = self._found = _Findings()
        try:
            self._open_channels(found, journal)
            self._walk(journal, found)
            if self._loaded is not None:
                return self._end_postcopy()
            self._load_devices(found)
            if self._vm.adopts_devices:
                self._vm.adopt_devices(found.adopted)
        except BaseException:
            if self._loaded is None:
                journal.rollback()
            raise
        return self._settle(journal, found)

    def _settle(self, journal: RamJournal, found: _Findings) -> Loaded:
        journal.commit()
        return Loaded(found.runstate, found.was_suspended, found.end - self._start)

    # Postcopy

    def resume(self, group: InputGroup, replies: Replies) -> Loaded:
        """Go on over another channel, after `run` or `resume` lost one in the middle of postcopy.

        Raises:
            StreamError, IncompatibleError, ChannelError: as `run`; it can be resumed again.
        """
        assert self._reader is not None
        assert self._postcopy is not None
        replies.go_on()
        self._replies = replies
        self._postcopy.resume(replies)
        self._reader = self._reader.go_on(group.main)
        self._walk(None, self._found)
        return self._end_postcopy()

    def _end_postcopy(self) -> Loaded:
        assert self._postcopy is not None
        assert self._loaded is not None
        self._postcopy.end()
        return self._loaded

    def _advised(self, command: Command) -> None:
        if self._switchover is None or not command.data:
            return
        if Capability.POSTCOPY_RAM not in self._vm.capabilities:
            raise IncompatibleError(
                command.offset, "command", "no postcopy, as postcopy-ram is off here", "its advice"
            )
        blocks = [b for b in self._vm.ram if b.migratable and self._vm.expects_pages(b)]
        self._postcopy = PostcopyTarget(blocks, self._replies, self._switchover.wake)

    def _run_guest(self, journal: RamJournal, found: _Findings) -> None:
        """Load the devices and let the guest run; the pages that follow are placed under it."""
        assert self._postcopy is not None
        assert self._switchover is not None
        self._load_devices(found)
        self._loaded = self._settle(journal, found)
        self._postcopy.begin()
        self._switchover.run(self._loaded)

    def _obey_postcopy(self, command: Command) -> None:
        postcopy, switchover = self._postcopy, self._switchover
        assert postcopy is not None
        assert switchover is not None
        try:
            match command.number:
                case CommandKind.POSTCOPY_RAM_DISCARD:
                    postcopy.forget(*decode_discard(command.data, command.offset))
                case CommandKind.POSTCOPY_LISTEN:
                    switchover.listening()
                case CommandKind.RECV_BITMAP:
                    postcopy.tell_received(decode_bitmap_wish(command.data, command.offset))
                case CommandKind.POSTCOPY_RESUME:
                    switchover.resumed()
                    postcopy.acknowledge()
                case _:
                    pass
        except (KeyError, IndexError) as error:
            expected = "pages of the RAM blocks of this machine"
            raise IncompatibleError(command.offset, "command", expected, str(error)) from error

    def _open_channels(self, found: _Findings, journal: RamJournal) -> None:
        """Begin to read the channels of multifd, if there are any."""
        group, vm = self._group, self._vm
        if not group.further:
            return
        uuid = vm.uuid or NO_UUID
        if group.ready is None:
            sources = [ByteSource(channel) for channel in group.further]
            self._channels = MultifdChannels(sources, uuid=uuid)
            return
        live = LiveChannels(
            group,
            lambda batch: self._apply(journal, self._check_pages(batch, found), batch),
            uuid=uuid,
            compression=vm.parameters.multifd_compression,
        )
        self._channels, self._channel = live, live.main

    def _all_fresh(self) -> bool:
        """Whether RAM is untouched, so that taking a load back is only letting go of pages."""
        return all(block.backend.pristine for block in self._vm.ram if block.migratable)

    def _items(self) -> Iterator[Item]:
        switches = self._vm.switches
        options = StreamOptions(
            footers=switches.send_section_footer, configuration=switches.send_configuration
        )
        if self._loaded is None:
            self._reader = StreamReader(
                self._channel,
                self._describe,
                local=self._local_values,
                options=options,
                channels=self._channels,
                leave=self._in_place,
            )
        assert self._reader is not None
        return iter(self._reader)

    def _items_that_matter(self) -> Iterator[Item]:
        """Yield all items; damage behind the end mark goes unnoticed (spec surprises.md 49)."""
        ended = False
        try:
            for item in self._items():
                yield item
                ended = ended or isinstance(item, EndMarker)
        except StreamError:
            if not ended:
                raise

    def _describe(self, name: str, instance_id: int) -> VMStateDescription | None:
        if name == GLOBALSTATE.name:
            return GLOBALSTATE
        device = self._vm.find_device(name, instance_id)
        return device.description if device and not device.is_opaque else None

    def _local_values(self, name: str, instance_id: int) -> Mapping[str, Value] | None:
        device = self._vm.find_device(name, instance_id)
        return device.values if device and not device.is_opaque else None

    def _walk(self, journal: RamJournal | None, found: _Findings) -> None:
        """Go through the stream once and check it; write RAM if there is a journal to write to."""
        for item in self._items_that_matter():
            found.end = item.offset
            match item:
                case Configuration():
                    self._check_configuration(item)
                case RamBlocks():
                    self._check_blocks(item)
                    found.pages = {info.name: info.used_bytes // PAGE_SIZE for info in item.blocks}
                    if journal is not None:
                        self._resize(item)
                        self._adopt(journal, item)
                case PageBatch() | XbzrleBatch():
                    self._take_pages(journal, self._check_pages(item, found), item)
                case DeviceSection():
                    self._check_device(item, found)
                case OpaquePart():
                    raise IncompatibleError(
                        item.offset, "section", "a section of this machine", "an unknown one"
                    )
                case Command():
                    self._obey(item, journal, found)
                case EndMarker() if self._loaded is not None:
                    return  # the source waits for our last word before it hangs up
                case _:
                    pass

    def _obey(self, command: Command, journal: RamJournal | None, found: _Findings) -> None:
        """Do what a command of the source asks for, unless this only looks for mistakes."""
        if journal is None and self._loaded is None:
            return
        match command.number:
            case CommandKind.POSTCOPY_RUN if self._postcopy is not None and journal is not None:
                self._run_guest(journal, found)
            case CommandKind.OPEN_RETURN_PATH:
                self._replies.open(command.offset)
                if Capability.SWITCHOVER_ACK in self._vm.capabilities:
                    self._replies.switchover_ack()
            case CommandKind.PING:
                self._replies.pong(U32.unpack(command.data)[0], command.offset)
            case CommandKind.POSTCOPY_ADVISE:
                self._advised(command)
            case _ if self._postcopy is not None:
                self._obey_postcopy(command)
            case _:
                pass

    def _take_pages(
        self, journal: RamJournal | None, block: RAMBlock, item: PageBatch | XbzrleBatch
    ) -> None:
        if self._loaded is not None:
            self._place(item)
        elif journal is not None:
            self._apply(journal, block, item)

    def _apply(self, journal: RamJournal, block: RAMBlock, item: PageBatch | XbzrleBatch) -> None:
        _apply(journal, block, item)
        if self._postcopy is not None:
            self._postcopy.note(block.name, item.pfns)

    def _place(self, item: PageBatch | XbzrleBatch) -> None:
        assert self._postcopy is not None
        if isinstance(item, XbzrleBatch):
            raise IncompatibleError(item.offset, "ram", "whole pages in postcopy", "changes")
        self._postcopy.place(item)

    def _check_configuration(self, item: Configuration) -> None:
        vm = self._vm
        if item.page_bits not in (None, PAGE_BITS):
            raise IncompatibleError(
                item.offset, "configuration", f"target page bits {PAGE_BITS}", str(item.page_bits)
            )
        # The receiver compares no more than the stream's name is long (spec stream.md 3.2).
        if not vm.machine_name.startswith(item.machine):
            raise IncompatibleError(
                item.offset, "configuration", f"machine {vm.machine_name}", item.machine
            )
        given = set(item.capabilities or ())
        wanted = {capability.value for capability in vm.capabilities.in_stream}
        for name in sorted(given ^ wanted):
            here, there = ("on", "off") if name in wanted else ("off", "on")
            raise IncompatibleError(
                item.offset,
                "configuration",
                f"capability {name} {here}, as on this side",
                f"{name} {there}; set it the same on both sides",
            )
        if item.uuid is not None and vm.uuid is not None and item.uuid != vm.uuid:
            raise IncompatibleError(
                item.offset, "configuration", f"UUID {vm.uuid.hex()}", item.uuid.hex()
            )

    def _check_blocks(self, item: RamBlocks) -> None:
        for info in item.blocks:
            block = self._vm.ram.get(info.name)
            if block is None or not block.migratable:
                names = ", ".join(b.name for b in self._vm.ram) or "none"
                raise IncompatibleError(
                    item.offset, "ram", f"RAM blocks of this machine: {names}", info.name
                )
            fits = block.resizable and 0 < info.used_bytes <= block.max_bytes
            if info.used_bytes != block.used_bytes and not fits:
                raise IncompatibleError(
                    item.offset,
                    "ram",
                    f"{block.used_bytes} bytes for block {info.name}",
                    f"{info.used_bytes} bytes",
                )
            if self._ignored(block) and info.address not in (None, block.address):
                raise IncompatibleError(
                    item.offset,
                    "ram",
                    f"address {block.address:#x} for shared block {info.name}",
                    f"{info.address:#x}",
                )

    def _resize(self, item: RamBlocks) -> None:
        for info in item.blocks:
            self._vm.ram[info.name].resize(info.used_bytes)

    def _in_place(self, info: BlockInfo) -> bool:
        """Whether the pages of a block are not read, as the file becomes its memory."""
        block = self._vm.ram.get(info.name)
        return (
            info.mapped is not None
            and block is not None
            and block.backend.in_place
            and block.used_bytes == block.max_bytes
            and isinstance(self._channel, FileInput)
        )

    def _adopt(self, journal: RamJournal, item: RamBlocks) -> None:
        for info in item.blocks:
            if info.mapped is not None and self._in_place(info):
                assert isinstance(self._channel, FileInput)
                stored = read_stored(self._channel, info)
                place = info.mapped.pages_offset
                journal.adopt(self._vm.ram[info.name], self._channel.fileno(), place, stored)

    def _check_pages(self, item: PageBatch | XbzrleBatch, found: _Findings) -> RAMBlock:
        block = self._vm.ram.get(item.block)
        if block is None or not block.migratable:
            raise IncompatibleError(item.offset, "ram", "a RAM block of this machine", item.block)
        if not self._vm.expects_pages(block):
            raise IncompatibleError(
                item.offset, "ram", f"no pages of {item.block}, which is here already", "a page"
            )
        pages = found.pages.get(block.name, block.pages)
        if item.pfns.size and int(item.pfns.max()) >= pages:
            raise IncompatibleError(
                item.offset,
                "ram",
                f"pages below {pages} in block {item.block}",
                f"page {int(item.pfns.max())}",
            )
        return block

    def _check_device(self, item: DeviceSection, found: _Findings) -> None:
        if item.name == GLOBALSTATE.name:
            self._read_globalstate(item, found)
            return
        device = self._vm.find_device(item.name, item.instance_id)
        if device is None and self._vm.adopts_devices:
            found.adopted.append(item)
            return
        if device is None:
            raise IncompatibleError(
                item.offset,
                item.name,
                "a device of this machine",
                f"instance {item.instance_id}; add the device, or save without it",
            )
        found.sections.append((device, item))

    def _read_globalstate(self, item: DeviceSection, found: _Findings) -> None:
        name, found.was_suspended = read_globalstate(item.values or {}, item.body_offset)
        try:
            found.runstate = RunState(name)
        except ValueError:
            raise IncompatibleError(
                item.offset, GLOBALSTATE.name, "the name of a run state", repr(name)
            ) from None
        if not runstate_allows(RunState.INMIGRATE, found.runstate, self._vm.release):
            if self._vm.strict:
                hint = "a loading QEMU cannot enter this run state"
                raise AbortError("migrate-incoming", name, hint)
            raise IncompatibleError(
                item.offset, GLOBALSTATE.name, "a run state that can be resumed", repr(name)
            )

    def _load_devices(self, found: _Findings) -> None:
        """Give every device its state in stream order; put all back if one refuses."""
        before = [(device, device.snapshot()) for device, _ in found.sections]
        try:
            for device, item in found.sections:
                place = item.body_offset
                device.load(item.body, 0, item.version, base=place, entry=item.entry)
        except BaseException:
            for device, snapshot in before:
                device.restore(snapshot)
            raise

    def _ignored(self, block: RAMBlock) -> bool:
        return self._ignore_shared and block.ignorable


def _apply(journal: RamJournal, block: RAMBlock, item: PageBatch | XbzrleBatch) -> None:
    if isinstance(item, XbzrleBatch):
        journal.settle()
        pages = np.array(block.read(item.pfns))
        item.apply_to(pages)
        journal.write(block, item.pfns, pages)
    elif item.is_zero:
        journal.zero(block, item.pfns)
    else:
        journal.write(block, item.pfns, item.data)
