"""What single cases do before and after: descriptors, sets of descriptors, files."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from .image import PAGE_BYTES
from .pair import Pair, parameters
from .wire import check

if TYPE_CHECKING:
    from .program import Instance

Hook = Callable[[Pair], None]
_NAME = "fd-mig"
_SET = 1


def nothing(_pair: Pair) -> None:
    """Do nothing."""


def fill_header(pair: Pair) -> None:
    """Make the file of the migration, with something in front of the stream."""
    (pair.setting.folder / "migfile").write_bytes(b"X" * PAGE_BYTES)


def pass_sockets(pair: Pair) -> None:
    """Give each side one end of a connection."""
    ends = socket.socketpair()
    for instance, end in zip(pair.both, ends, strict=True):
        instance.qmp.ok("getfd", [end.fileno()], fdname=_NAME)
        end.close()


def pass_file(pair: Pair) -> None:
    """Give each side a descriptor of the same file, as it needs it."""
    path = pair.setting.folder / "migfile"
    for instance, flags in zip(pair.both, (os.O_RDWR | os.O_CREAT, os.O_RDONLY), strict=True):
        fd = os.open(path, flags, 0o600)
        instance.qmp.ok("getfd", [fd], fdname=_NAME)
        os.close(fd)


def descriptors_are_gone(pair: Pair) -> None:
    """The migration has used the named descriptors up, on both sides."""
    for instance in pair.both:
        text = instance.qmp.refused("closefd", fdname=_NAME)
        check(text == f"File descriptor named '{_NAME}' not found", f"closefd says {text!r}")


def fill_sets(*, count: int, direct: bool = False) -> Hook:
    """Return a hook that puts ``count`` descriptors into a set on each side.

    With ``direct`` the last one bypasses the page cache, and the engines are told to.
    """

    def hook(pair: Pair) -> None:
        fill_header(pair)
        for instance, mode in zip(pair.both, (os.O_WRONLY, os.O_RDONLY), strict=True):
            for number in range(count):
                last = direct and number == count - 1
                _add(pair, instance, mode | (os.O_DIRECT if last else 0))
            if direct:
                parameters(instance, direct_io=True)

    return hook


def direct_io(pair: Pair) -> None:
    """Tell both engines to bypass the page cache."""
    for instance in pair.both:
        parameters(instance, direct_io=True)


def _add(pair: Pair, instance: Instance, flags: int) -> None:
    fd = os.open(pair.setting.folder / "migfile", flags)
    instance.qmp.ok("add-fd", [fd], fdset_id=_SET)
    os.close(fd)


def sets_can_go(pair: Pair) -> None:
    """The set can be removed after the migration, and leaves nothing behind."""
    pair.source.qmp.ok("remove-fd", fdset_id=_SET)
    pair.source.qmp.send({"execute": "query-fdsets", "arguments": {}})
    reply = pair.source.qmp.reply()
    check(reply == {"return": []}, f"query-fdsets: {reply}")
