"""``diff``: what is different between two streams, down to fields and pages."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ..errors import StateError, StreamError
from ..qapi.enums import Capability
from ..stream.apply import apply_item
from ..stream.items import DeviceSection
from .compare_ram import AddUpNeededError, RamMatcher
from .compare_state import Side, compare_states
from .difference import BlockDifference, FactDifference, SectionDifference, StreamDifference
from .files import is_pipe, walk
from .image import RamImage
from .outline import DevicePlace, Outline, SectionKey, decoded_again
from .show import decode_section
from .sparse import scratch_file

if TYPE_CHECKING:
    from ..stream.items import Item
    from ..stream.open import StreamFile
    from .files import Progress, StreamFiles


def compare_streams(
    a: StreamFiles, b: StreamFiles, *, ram: bool = False, progress: Progress | None = None
) -> StreamDifference:
    """Return what is different between two streams, in whatever form either is.

    Forms, section ids, the order of things and where zero pages are told do not count.  Page
    contents are compared with ``ram``; that takes as much room in the directory for temporary files
    as the RAM of the first stream has content (and the second, where it has XBZRLE deltas).

    Raises:
        StreamError: one of them is malformed or cut off; its section names the file.
        StateError: a pipe; both have to be files.
        ChannelError: a file cannot be read, or there is no room for temporary files.
    """
    for files in (a, b):
        if is_pipe(files.path):
            raise StateError(f"comparing {files.path}", "a pipe", hint="save it to a file")
    with ExitStack() as cleanup:
        first = cleanup.enter_context(a.open())
        second = cleanup.enter_context(b.open())
        return _Comparison(first, second, cleanup, ram=ram, progress=progress).result()


class _Comparison:
    """Walks through both streams, one after the other."""

    def __init__(
        self,
        first: StreamFile,
        second: StreamFile,
        cleanup: ExitStack,
        *,
        ram: bool,
        progress: Progress | None,
    ) -> None:
        self._first, self._second = first, second
        self._cleanup = cleanup
        self._progress = progress
        self._a, self._b = Outline(), Outline()
        self._image = self._new_image() if ram else None
        self._sections: list[SectionDifference] = []
        self._same = 0
        for item in self._items(first):
            self._a.take(item)
            if self._image is not None:
                apply_item(item, self._image)
        self._left: dict[SectionKey, DevicePlace] = dict(self._a.devices)
        self._matcher = self._walk_second()

    def result(self) -> StreamDifference:
        """Return what was found."""
        ignored = self._a.ignored | self._b.ignored if self._image is not None else frozenset()
        return StreamDifference(
            self._first.name,
            self._second.name,
            tuple(self._facts()),
            (*self._sections, *self._only_in_a(), *self._iterable()),
            tuple(self._blocks(ignored)),
            self._same,
            self._image is not None,
            tuple(name for name in self._a.blocks if name in ignored and name in self._b.blocks),
        )

    # Walking

    def _items(self, stream: StreamFile) -> Iterator[Item]:
        """Yield the items of a stream; errors say of which."""
        try:
            yield from walk(stream, self._progress)
        except StreamError as error:
            section = f"{error.section} of {stream.name}"
            raise StreamError(error.offset, section, error.expected, error.found) from error

    def _walk_second(self) -> RamMatcher | None:
        matcher = RamMatcher(self._image) if self._image is not None else None
        add_up = False
        for item in self._items(self._second):
            if isinstance(item, DeviceSection):
                self._device(item)
            self._b.take(item)
            if matcher is None or add_up:
                continue
            try:
                matcher.take(item)
            except AddUpNeededError:
                add_up = True
        if not add_up or self._image is None:
            return matcher
        image = self._new_image()
        for item in self._items(self._second):
            apply_item(item, image)
        return RamMatcher.with_image(self._image, image)

    def _new_image(self) -> RamImage:
        channel = scratch_file(tempfile.gettempdir())
        self._cleanup.callback(channel.close)
        return RamImage(channel)

    def _device(self, item: DeviceSection) -> None:
        """Compare a section of the second stream with its like in the first one."""
        mine = self._left.pop(self._b.free_key(item), None)
        if mine is None:
            self._sections.append(_only(item, len(item.body), Side.B))
            return
        fields = compare_states(decoded_again(self._first, mine), decode_section(item))
        versions = mine.section.version, item.version
        if not fields and versions[0] == versions[1]:
            self._same += 1
            return
        sizes = mine.size_bytes, len(item.body)
        key = item.name, item.instance_id
        self._sections.append(SectionDifference(*key, Side.BOTH, *versions, *sizes, fields))

    # What differs

    def _facts(self) -> Iterator[FactDifference]:
        mine, other = _facts(self._a, self._first), _facts(self._b, self._second)
        for name, value in mine.items():
            if value != other[name]:
                yield FactDifference(name, value, other[name])

    def _only_in_a(self) -> Iterator[SectionDifference]:
        for place in self._left.values():
            yield _only(place.section, place.size_bytes, Side.A)

    def _iterable(self) -> Iterator[SectionDifference]:
        mine, other = self._a.iterable, self._b.iterable
        for key in dict.fromkeys((*mine, *other)):
            versions = mine.get(key), other.get(key)
            if versions[0] != versions[1]:
                yield SectionDifference(*key, _side(*versions), *versions, None, None)

    def _blocks(self, ignored: Iterable[str]) -> Iterator[BlockDifference]:
        for name in dict.fromkeys((*self._a.blocks, *self._b.blocks)):
            mine, other = self._a.blocks.get(name), self._b.blocks.get(name)
            sizes = mine.used_bytes if mine else None, other.used_bytes if other else None
            ranges = None
            if self._matcher is not None and name in self._matcher.common and name not in ignored:
                ranges = self._matcher.different(name)
            different = ranges.count if ranges is not None else 0
            if sizes[0] == sizes[1] and not different:
                continue
            compared = ranges.pages.pages if ranges is not None else 0
            yield BlockDifference(
                name, _side(mine, other), *sizes, ranges is not None, compared, different, ranges
            )


def _side(a: object, b: object) -> Side:
    if a is None:
        return Side.B
    return Side.A if b is None else Side.BOTH


def _only(section: DeviceSection, size_bytes: int, side: Side) -> SectionDifference:
    there = side is Side.A
    versions = (section.version, None) if there else (None, section.version)
    sizes = (size_bytes, None) if there else (None, size_bytes)
    return SectionDifference(section.name, section.instance_id, side, *versions, *sizes)


def _facts(outline: Outline, stream: StreamFile) -> dict[str, str | None]:
    configuration = outline.configuration
    uuid = configuration.uuid if configuration is not None else None
    # How the pages travel does not count, nor does the capability that says so.
    names = [name for name in outline.capabilities if name != Capability.MAPPED_RAM]
    return {
        "machine": configuration.machine if configuration is not None else None,
        "capabilities": ", ".join(names) or None,
        "uuid": uuid.hex() if uuid is not None else None,
        "page size": str(1 << stream.found.page_bits),
    }
