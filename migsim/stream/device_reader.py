"""Device sections: where a body ends, by its description, the stream's own, or the footer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..errors import StreamError
from ..vmstate.common import GLOBALSTATE, TIMER
from .footers import BODY_BYTES_MAX
from .items import DeviceSection, SectionBegin
from .section_reader import peek_state, read_state, within_window
from .vmdesc import Found, body_bytes, find_description
from .wire import SECTIONS_MAX

if TYPE_CHECKING:
    from ..vmstate.fields import Value, Values, VMStateDescription
    from .footers import Footers
    from .source import ByteSource

    Lookup = Callable[[str, int], VMStateDescription | None]
    LocalValues = Callable[[str, int], Mapping[str, Value] | None]
    Json = Mapping[str, object]

# A description that misfits so often is of another stream.
_MISFITS_MAX = 8
_COMMON = {description.name: description for description in (TIMER, GLOBALSTATE)}


class DeviceReader:
    """Reads the device sections of one stream, in order.

    Args:
        source: the stream, whose position is at a body when ``read`` is called.
        footers: its footers.
        describe: returns the description of a device section by name and instance id, or None.
        local: returns the values that the device has here.
    """

    def __init__(
        self,
        source: ByteSource,
        footers: Footers,
        describe: Lookup | None,
        local: LocalValues | None,
    ) -> None:
        self._source = source
        self._footers = footers
        self._describe = describe
        self._local = local
        self._count = 0
        self._found: Found | None = None
        self._searched = False
        self._misfits = 0

    def read(self, begin: SectionBegin, limit_bytes: int | None) -> DeviceSection:
        """Take body and footer of the section whose header was ``begin``.

        ``limit_bytes`` is what is left of the package around it, if there is one.

        Raises:
            StreamError: the state is malformed or cut off, or nothing tells where it ends.
            IncompatibleError: a version, subsection or compared value does not fit.
        """
        index, self._count = self._count, self._count + 1
        if index == SECTIONS_MAX:
            expected = f"at most {SECTIONS_MAX} device sections"
            raise StreamError(begin.offset, begin.name, expected, "one more")
        values: Values | None = None
        entry: Json | None = None
        known = self._describe(begin.name, begin.instance_id) if self._describe else None
        if known is not None:
            values, body = self._known(begin, known)
        else:
            body, entry = self._unknown(begin, index, limit_bytes)
        self._footers.take(begin.name, begin.section_id)
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

    def _known(self, begin: SectionBegin, description: VMStateDescription) -> tuple[Values, bytes]:
        local = self._local(begin.name, begin.instance_id) if self._local else None
        return read_state(self._source, description, begin.version, begin.name, local=local)

    def _unknown(
        self, begin: SectionBegin, index: int, limit_bytes: int | None
    ) -> tuple[bytes, Json | None]:
        """Return the body, and its entry in the stream's own description if that measured it.

        What the description says is not trusted: a receiver never looks at it.
        """
        entry = self._entry(begin, index)
        size, error = self._measure(entry, begin) if entry is not None else (None, None)
        if size is None:
            self._misfits += entry is not None
            entry = None
            size = self._common(begin)
        if size is None:
            if self._footers.present is False:
                expected = "a device section whose length is known"
                found = f"{begin.name}, without description and footer"
                raise error or StreamError(begin.offset, begin.name, expected, found)
            try:
                size = self._footers.find(begin.name, begin.section_id, limit_bytes)
            except StreamError as missing:
                raise error or missing from None
        return bytes(self._source.take(size, begin.name, "device state")), entry

    def _measure(self, entry: Json, begin: SectionBegin) -> tuple[int | None, StreamError | None]:
        """Return the body's length by its entry, or why the entry does not fit."""
        source = self._source
        try:
            size = within_window(
                source,
                lambda view, _: body_bytes(entry, view, begin.name, source.position),
                begin.name,
                BODY_BYTES_MAX,
            )
        except StreamError as error:
            return None, error
        if self._footers.follows(begin.section_id, size):
            return size, None
        expected = f"the footer of section {begin.section_id}"
        return None, StreamError(source.position + size, begin.name, expected, "something else")

    def _common(self, begin: SectionBegin) -> int | None:
        """Return the body's length if it is of a section that every machine has."""
        description = _COMMON.get(begin.name)
        if description is None:
            return None
        try:
            size = len(peek_state(self._source, description, begin.version, begin.name)[1])
        except StreamError:
            return None
        return size if self._footers.follows(begin.section_id, size) else None

    def _entry(self, begin: SectionBegin, index: int) -> Json | None:
        """Return what the description at the end says of the ``index``-th device section."""
        if not self._searched:
            self._searched = True
            if self._source.seekable:
                self._found = find_description(self._source, self._source.position)
        trusted = self._found if self._misfits < _MISFITS_MAX else None
        devices = trusted.devices if trusted is not None else ()
        if index >= len(devices):
            return None
        entry = devices[index]
        fits = (entry.get("name"), entry.get("instance_id")) == (begin.name, begin.instance_id)
        return entry if fits else None
