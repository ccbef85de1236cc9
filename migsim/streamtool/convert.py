"""``convert`` and ``replace-ram``: a stream in another form, or with other RAM, as a new file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..channel.file import FileInput
from ..errors import ParameterError, StreamError
from ..stream.apply import apply_item
from ..stream.items import DeviceSection, EndMarker, RamBlocks, SectionEnd
from ..stream.options import QEMU_DEFAULTS, StreamOptions
from ..stream.outfile import OutFile
from ..stream.wire import EOS_BYTES, SectionType
from ..stream.writer import StreamWriter
from .atomic import AtomicFile
from .files import StreamFiles, walk
from .image import RamImage
from .replacement import Replacement
from .report import StreamForm
from .sparse import scratch_file
from .transcode import ImageNeededError, Plan, Transcoder, ZeroPages

if TYPE_CHECKING:
    from ..stream.open import StreamFile
    from .files import PathLike, Progress

_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class WrittenStream:
    """A stream that was written.

    Attributes:
        path: the new file.
        form: how its pages lie.
        offset: where the stream begins in it.
        length_bytes: of the stream.
        content_pages: pages that have content in it.
        zero_pages: pages that it says are zero.
        silent_pages: pages that it says nothing of, or does not store.
        dropped: what the source had and the new stream has not, in words.
    """

    path: str
    form: StreamForm
    offset: int
    length_bytes: int
    content_pages: int
    zero_pages: int
    silent_pages: int
    dropped: tuple[str, ...]


def convert(
    files: StreamFiles,
    target: PathLike,
    form: StreamForm,
    *,
    target_offset: int = 0,
    zero_pages: ZeroPages | None = None,
    drop_description: bool = False,
    progress: Progress | None = None,
) -> WrittenStream:
    """Write the stream anew, as a plain or a mapped-ram file that a QEMU loads.

    Every form can be read: XBZRLE deltas become pages, channels of multifd join the stream, a
    postcopy recording becomes a stream with all RAM in front, libvirt's wrapper stays behind.
    The new file appears complete or not at all (`AtomicFile`).

    Args:
        files: the source.
        target: the new file; what it had below ``target_offset`` is kept, as QEMU does.
        form: ``PLAIN`` or ``MAPPED_RAM``.
        target_offset: where the stream begins in the new file (``,offset=N``).
        zero_pages: what becomes of pages that are zero; None for what QEMU does: mark them in a
            plain stream, leave them out with mapped-ram.
        drop_description: leave out the description at the end.
        progress: is told how far the source was read.

    Raises:
        StreamError: the source is malformed or cut off.
        ConfigError: the source cannot have that form (mapped-ram of a stream with x-ignore-shared,
            COLO).
        ParameterError: another form than these two.
        StateError: a pipe would have to be read twice (XBZRLE or postcopy into a plain file).
        ChannelError: a file cannot be read, or the new one cannot be written.
    """
    if form not in (StreamForm.PLAIN, StreamForm.MAPPED_RAM):
        raise ParameterError("format", form.value, "plain or mapped-ram")
    plan = _plan(form, zero_pages, drop_description=drop_description)
    with files.open() as stream:
        return _Job(stream, files, target_offset, plan, progress).run(target)


def replace_ram(
    files: StreamFiles,
    target: PathLike,
    blocks: Mapping[str, PathLike],
    *,
    target_offset: int = 0,
    zero_pages: ZeroPages | None = None,
    progress: Progress | None = None,
) -> WrittenStream:
    """Write the stream anew with other content of RAM blocks, everything else as it was.

    A mapped-ram file stays one; everything else becomes a plain file, XBZRLE deltas of other blocks
    included.

    Args:
        files: the source, which is no pipe.
        target: the new file.
        blocks: a file for each block that is replaced, exactly as long as the block.
        target_offset: as of `convert`.
        zero_pages: as of `convert`.
        progress: as of `convert`.

    Raises:
        ConfigError: there is no such block, its pages are not in the stream, or a file has another
            length.
        StreamError, StateError, ChannelError: as of `convert`.
    """
    replacements = {name: Replacement(path) for name, path in blocks.items()}
    with files.open() as stream:
        mapped = _peek(stream, files)[1]
        form = StreamForm.MAPPED_RAM if mapped else StreamForm.PLAIN
        plan = _plan(form, zero_pages, keep_deltas=True, replacements=replacements)
        return _Job(stream, files, target_offset, plan, progress).run(target)


def _plan(
    form: StreamForm,
    zero_pages: ZeroPages | None,
    *,
    drop_description: bool = False,
    keep_deltas: bool = False,
    replacements: Mapping[str, Replacement] | None = None,
) -> Plan:
    mapped = form is StreamForm.MAPPED_RAM
    if zero_pages is None:
        zero_pages = ZeroPages.OMIT if mapped else ZeroPages.MARK
    return Plan(mapped, zero_pages, drop_description, keep_deltas, replacements or {})


@dataclass(slots=True)
class _Job:
    """One source on its way into one new file."""

    stream: StreamFile
    files: StreamFiles
    offset: int
    plan: Plan
    progress: Progress | None

    def run(self, target: PathLike) -> WrittenStream:
        options = _peek(self.stream, self.files)[0]
        replacing = [new.path for new in self.plan.replacements.values()]
        with AtomicFile(target, (*self.files.all_paths, *replacing)) as out:
            _keep_beginning(out, self.offset)
            try:
                done = self._walk(out, options)
            except ImageNeededError:
                done = self._walk(out, options, self._added_up(out))
            end = out.channel.position
            out.channel.resize(end)
        wrapper = ["libvirt's wrapper"] if self.stream.wrapper is not None else []
        return WrittenStream(
            os.fspath(target),
            StreamForm.MAPPED_RAM if self.plan.mapped else StreamForm.PLAIN,
            self.offset,
            end - self.offset,
            done.content_pages,
            done.zero_pages,
            done.pages - done.content_pages - done.zero_pages,
            (*wrapper, *done.dropped),
        )

    def _walk(
        self, out: AtomicFile, options: StreamOptions, image: RamImage | None = None
    ) -> Transcoder:
        out.channel.resize(self.offset)
        out.channel.seek(self.offset)
        mapped = self.plan.mapped
        writer = StreamWriter(OutFile(out.channel), options=options, mapped_ram=mapped)
        transcoder = Transcoder(writer, self.plan, image)
        progress = self.progress if image is None else None
        for item in walk(self.stream, progress, keep_order=not mapped):
            transcoder.take(item)
        writer.out.flush()
        return transcoder

    def _added_up(self, out: AtomicFile) -> RamImage:
        """Return the RAM of the whole source, in a scratch file beside the new one."""
        channel = scratch_file(out.path.parent)
        out.cleanup.callback(channel.close)
        image = RamImage(channel)
        for item in walk(self.stream, self.progress):
            apply_item(item, image)
        return image


def _keep_beginning(out: AtomicFile, size_bytes: int) -> None:
    """Copy what the target had in front of the place where the stream begins."""
    if not size_bytes or out.replaces is None:
        return
    old = FileInput(out.path)
    try:
        room = memoryview(bytearray(min(size_bytes, _COPY_BYTES)))
        while size_bytes:
            count = old.read_into(room[:size_bytes])
            if count == 0:
                break
            out.channel.write(room[:count])
            size_bytes -= count
    finally:
        old.close()


def _peek(stream: StreamFile, files: StreamFiles) -> tuple[StreamOptions, bool]:
    """Return how the source is put together, and whether it is mapped-ram, from its beginning.

    Of a pipe nothing can be known in advance: it is taken for what QEMU writes by default.

    Raises:
        StreamError: it does not begin like a stream.
    """
    if stream.size_bytes is None:
        return QEMU_DEFAULTS, False
    mapped = False
    footers: bool | None = None
    try:
        for item in stream.items():
            if isinstance(item, SectionEnd | DeviceSection | EndMarker):
                footers = stream.found.footers
                break
            if isinstance(item, RamBlocks) and any(b.mapped is not None for b in item.blocks):
                # All pages lie between here and the end of the section.
                mapped, footers = True, _footer_follows(files, stream.position + EOS_BYTES)
                break
    except StreamError:
        if stream.position == stream.offset:
            raise
    found = stream.found
    return StreamOptions(footers, found.configuration, found.page_bits), mapped


def _footer_follows(files: StreamFiles, position: int) -> bool:
    channel = FileInput(files.path)
    try:
        room = bytearray(1)
        return bool(channel.read_at(position, memoryview(room)) and room[0] == SectionType.FOOTER)
    finally:
        channel.close()
