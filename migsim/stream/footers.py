"""Footers: what ends a section, and how a body of unknown length is found by it.

A footer repeats the section's id, and what may follow it is known, so the end of a body that
nothing describes can be found by looking for both (spec stream.md sections 4.1 and 4.3).
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import TYPE_CHECKING

from ..errors import StreamError
from .wire import (
    COMMAND_HEADER,
    COMMAND_LENGTHS,
    SECTION_ID,
    U32,
    CommandKind,
    SectionType,
)

if TYPE_CHECKING:
    from .source import ByteSource

BODY_BYTES_MAX = 64 << 20
"""Longest body of a device section or part that a reader takes in bytes (our limit)."""
_STARTS = (SectionType.START, SectionType.FULL)
_PARTS = (SectionType.PART, SectionType.END)
_NAME_AT = SECTION_ID.size + 1
_PRINTABLE = re.compile(rb"[\x20-\x7e]+")


class Footers:
    """The footers of one stream.

    Args:
        source: the stream.
        present: whether sections have footers; None to find out at the first section.

    Attributes:
        present: as given, or as found out.
        started: ids of the iterable sections, of which parts may follow.
    """

    def __init__(self, source: ByteSource, present: bool | None, started: Container[int]) -> None:
        self._source = source
        self.present = present
        self.started = started

    def take(self, section: str, section_id: int) -> None:
        """Take the footer of ``section_id``, if there has to be one.

        Raises:
            StreamError: it is not there.
        """
        if not self.follows(section_id, 0):
            raise self._missing(section, section_id)
        if self.present:
            self._source.advance(SECTION_ID.size)

    def follows(self, section_id: int, ahead: int) -> bool:
        """Return whether ``ahead`` bytes from here a section may end: by a footer, if it has one.

        Settles whether there are footers at all.
        """
        view = self._source.window(ahead + SECTION_ID.size)[ahead:]
        found = view[: SECTION_ID.size] == SECTION_ID.pack(SectionType.FOOTER, section_id)
        if self.present is None and found:
            self.present = True
        elif self.present is None and self._may_begin(ahead):
            self.present = False
        return found if self.present is not False else True

    def find(self, section: str, section_id: int, limit_bytes: int | None) -> int:
        """Return the length of the body that begins here, by looking for its footer.

        It ends before ``limit_bytes``, the rest of a package, when that is given.

        Raises:
            StreamError: there is none.
        """
        mark = re.compile(re.escape(SECTION_ID.pack(SectionType.FOOTER, section_id)))
        most = min(BODY_BYTES_MAX, BODY_BYTES_MAX if limit_bytes is None else limit_bytes)
        at, wanted, doubtful = 0, 1, None
        while True:
            # Looking at what follows may move the bytes, so they are asked for at each turn.
            view = self._source.window(wanted)[:most]
            arrived = len(view)
            if (match := mark.search(view, at)) is not None:
                at = match.start() + 1
                if match.end() == limit_bytes or self._may_begin(match.end()):
                    self.present = True
                    return match.start()
                if doubtful is None and self._byte(match.end()) == SectionType.EOF:
                    doubtful = match.start()
            elif arrived < wanted or arrived == most:
                break
            else:
                at, wanted = max(at, arrived - SECTION_ID.size + 1), arrived + 1
        if doubtful is None:
            raise self._not_found(section, section_id, arrived)
        self.present = True
        return doubtful

    def _byte(self, ahead: int) -> int | None:
        """Return the byte that is ``ahead``, None when the source ends before."""
        view = self._source.window(ahead + 1)[ahead:]
        return view[0] if view else None

    def _may_begin(self, ahead: int) -> bool:
        """Return whether a section, command or the end of the stream may begin ``ahead`` bytes on.

        Only as many bytes are asked for as have to be there.
        """
        kind = self._byte(ahead)
        if kind == SectionType.EOF:
            return self._is_end(ahead)
        view = self._source.window(ahead + SECTION_ID.size)[ahead:]
        if len(view) < SECTION_ID.size:
            return False
        if kind == SectionType.COMMAND:
            return self._is_command(view)
        if kind in _PARTS:
            return int(U32.unpack_from(view, 1)[0]) in self.started
        return kind in _STARTS and self._is_name(ahead)

    def _is_end(self, ahead: int) -> bool:
        """Return whether the zero byte ``ahead`` is likely the end marker; a pipe cannot tell."""
        if not self._source.seekable:
            return True
        return self._byte(ahead + 1) in (None, SectionType.VMDESCRIPTION)

    @staticmethod
    def _is_command(view: memoryview) -> bool:
        _, number, size = COMMAND_HEADER.unpack_from(view)
        if number not in COMMAND_LENGTHS:
            return False
        lengths = COMMAND_LENGTHS[CommandKind(number)]
        return lengths is None or size in lengths

    def _is_name(self, ahead: int) -> bool:
        view = self._source.window(ahead + _NAME_AT)[ahead:]
        size = view[_NAME_AT - 1] if len(view) >= _NAME_AT else 0
        view = self._source.window(ahead + _NAME_AT + size)[ahead + _NAME_AT :]
        return _PRINTABLE.fullmatch(view[:size]) is not None and len(view) >= size

    def _missing(self, section: str, section_id: int) -> StreamError:
        view = self._source.window(SECTION_ID.size)
        what = f"the footer of section {section_id}"
        if len(view) < SECTION_ID.size:
            return self._source.truncated(section, what, len(view))
        return StreamError(
            self._source.position, section, what, bytes(view[: SECTION_ID.size]).hex(" ")
        )

    def _not_found(self, section: str, section_id: int, arrived: int) -> StreamError:
        what = f"a body and the footer of section {section_id}"
        if arrived == BODY_BYTES_MAX:
            found = f"none within {arrived} bytes"
            return StreamError(self._source.position, section, what, found)
        return self._source.truncated(section, what, arrived)


assert COMMAND_HEADER.size == SECTION_ID.size  # so that one look is enough for both
