"""Descriptors that a client handed over: named ones, and sets of them below ``/dev/fdset``.

A named descriptor is used up by the migration that opens it.  A set gives a duplicate of the
member whose access mode is exactly the one asked for (spec surprises.md 45, QEMU 10.0).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from dataclasses import dataclass, field

from ..errors import ChannelError, ParameterError

_SET_PATH = re.compile(r"/dev/fdset/(\d+)\Z")


@dataclass(frozen=True, slots=True)
class SetMember:
    """One descriptor of a set, with the note that came along."""

    fd: int
    opaque: str | None = None


@dataclass(slots=True)
class DescriptorTable:
    """The descriptors of one machine's monitors.

    Attributes:
        names: descriptors by the name given with ``getfd``.
        sets: members by number of their set.
        offered: the descriptor that came with the present command, or None.
    """

    names: dict[str, int] = field(default_factory=dict)
    sets: dict[int, list[SetMember]] = field(default_factory=dict)
    offered: int | None = None

    def accept(self, command: str) -> int:
        """Return the offered descriptor, which is the caller's from now on.

        Raises:
            ChannelError: the command came without one.
        """
        if self.offered is None:
            reason = "no descriptor came with the command"
            raise ChannelError(f"descriptor of {command}", "open", reason)
        fd, self.offered = self.offered, None
        return fd

    def name(self, name: str, fd: int) -> None:
        """Keep ``fd`` under ``name``; one that has the name already is closed.

        Raises:
            ParameterError: the name begins with a digit, which means a number to migration.
        """
        if name[:1].isdigit():
            os.close(fd)
            raise ParameterError("fdname", name, "a name that does not begin with a digit")
        old = self.names.pop(name, None)
        if old is not None:
            os.close(old)
        self.names[name] = fd

    def take(self, name: str) -> int | None:
        """Return the descriptor called ``name`` and forget it; None if there is none."""
        return self.names.pop(name, None)

    def close_name(self, name: str) -> bool:
        """Close the descriptor called ``name``; whether there was one."""
        fd = self.take(name)
        if fd is not None:
            os.close(fd)
        return fd is not None

    def add(self, number: int | None, opaque: str | None, fd: int) -> int:
        """Put ``fd`` into a set, a new one without ``number``; return the set's number."""
        if number is None:
            number = next(n for n in range(len(self.sets) + 1) if n not in self.sets)
        self.sets.setdefault(number, []).append(SetMember(fd, opaque))
        return number

    def remove(self, number: int, fd: int | None) -> bool:
        """Close one member of a set, or all of them; whether there was one."""
        members = self.sets.get(number, [])
        gone = [member for member in members if fd is None or member.fd == fd]
        for member in gone:
            members.remove(member)
            os.close(member.fd)
        if gone and not members:
            del self.sets[number]
        return bool(gone)

    def query(self) -> list[dict[str, object]]:
        """Return the sets as ``query-fdsets`` has them."""
        return [
            {
                "fdset-id": number,
                "fds": [
                    {"fd": m.fd, **({} if m.opaque is None else {"opaque": m.opaque})}
                    for m in members
                ],
            }
            for number, members in self.sets.items()
        ]

    def open_path(self, path: str, flags: int) -> int | None:
        """Return a duplicate from the set that ``path`` names; None for any other path.

        ``flags`` are those of ``open``: access mode and O_DIRECT have to fit.

        Raises:
            ChannelError: no such set, or no member of it fits.
        """
        match = _SET_PATH.match(path)
        if match is None:
            return None
        number = int(match[1])
        mask = os.O_ACCMODE
        for member in self.sets.get(number, ()):
            has = fcntl.fcntl(member.fd, fcntl.F_GETFL)
            if has & mask == flags & mask and bool(has & os.O_DIRECT) == bool(flags & os.O_DIRECT):
                return fcntl.fcntl(member.fd, fcntl.F_DUPFD_CLOEXEC, 0)
        reason = "no descriptor of the set has the access mode that is needed"
        raise ChannelError(f"file:{path}", "open", reason, errno.EACCES)

    def close(self) -> None:
        """Close all of them."""
        for fd in self.names.values():
            os.close(fd)
        self.names.clear()
        for number in list(self.sets):
            self.remove(number, None)
        if self.offered is not None:
            os.close(self.offered)
            self.offered = None
