"""The cases that are rows of `Precopy`; importing this registers every case of the ladder."""

from __future__ import annotations

from . import cancelling, special
from .hooks import (
    descriptors_are_gone,
    direct_io,
    fill_header,
    fill_sets,
    pass_file,
    pass_sockets,
    sets_can_go,
)
from .precopy import MAPPED, MULTIFD, OFFSET_BYTES, Precopy
from .table import CASES, Case

__all__ = ["CASES", "Case"]

_16 = {"multifd_channels": 16}
_4 = {"multifd_channels": 4}
_IN_FILE = f"file:{{folder}}/migfile,offset={OFFSET_BYTES}"
_IN_SET = f"file:/dev/fdset/1,offset={OFFSET_BYTES}"
_BOTH = (*MAPPED, *MULTIFD)


def _multifd(*, live: bool = True, channels: bool = False, **parameters: object) -> Precopy:
    return Precopy(
        "tcp",
        live=live,
        capabilities=MULTIFD,
        parameters=_16 | parameters,
        listens_late=True,
        channels=channels,
    )


_ROWS = (
    # Name, level, what it does.
    ("precopy/file", 2, Precopy("file")),
    ("precopy/file/offset", 2, Precopy("file", uri=_IN_FILE, before=fill_header)),
    ("precopy/file/offset/fdset", 2, Precopy("file", uri=_IN_SET, before=fill_sets(count=1))),
    ("precopy/tcp/plain", 2, Precopy("tcp")),
    ("precopy/fd/tcp", 2, Precopy("fd", before=pass_sockets, after=descriptors_are_gone)),
    (
        "precopy/fd/file",
        2,
        Precopy("file", uri="fd:fd-mig", before=pass_file, after=descriptors_are_gone),
    ),
    ("precopy/unix/suspend/notlive", 2, Precopy("unix")),
    ("precopy/unix/plain", 3, Precopy("unix", live=True)),
    ("precopy/unix/suspend/live", 3, Precopy("unix", live=True)),
    (
        "precopy/tcp/plain/switchover-ack",
        3,
        Precopy("tcp", live=True, capabilities=("return-path", "switchover-ack")),
    ),
    (
        "precopy/unix/xbzrle",
        3,
        Precopy(
            "unix",
            live=True,
            iterations=2,
            capabilities=("xbzrle",),
            parameters={"xbzrle_cache_size": 33554432},
        ),
    ),
    ("precopy/file/mapped-ram", 4, Precopy("file", capabilities=MAPPED)),
    ("precopy/file/mapped-ram/live", 4, Precopy("file", live=True, capabilities=MAPPED)),
    ("multifd/tcp/uri/plain/none", 4, _multifd(multifd_compression="none")),
    ("multifd/tcp/channels/plain/none", 4, _multifd(channels=True, multifd_compression="none")),
    ("multifd/tcp/plain/zero-page/legacy", 4, _multifd(zero_page_detection="legacy")),
    ("multifd/tcp/plain/zero-page/none", 4, _multifd(zero_page_detection="none")),
    (
        "multifd/tcp/plain/zlib",
        4,
        _multifd(live=False, multifd_zlib_level=2, multifd_compression="zlib"),
    ),
    (
        "multifd/tcp/plain/zstd",
        4,
        _multifd(live=False, multifd_zstd_level=2, multifd_compression="zstd"),
    ),
    ("multifd/file/mapped-ram", 4, Precopy("file", capabilities=_BOTH, parameters=_4)),
    (
        "multifd/file/mapped-ram/live",
        4,
        Precopy("file", live=True, capabilities=_BOTH, parameters=_4),
    ),
    (
        "multifd/file/mapped-ram/dio",
        4,
        Precopy("file", capabilities=_BOTH, parameters=_4, before=direct_io),
    ),
    (
        "multifd/file/mapped-ram/fdset",
        4,
        Precopy(
            "file",
            capabilities=_BOTH,
            parameters=_4,
            uri=_IN_SET,
            before=fill_sets(count=2),
            after=sets_can_go,
        ),
    ),
    (
        "multifd/file/mapped-ram/fdset/dio",
        4,
        Precopy(
            "file",
            capabilities=_BOTH,
            parameters=_4,
            uri=_IN_SET,
            before=fill_sets(count=2, direct=True),
            after=sets_can_go,
        ),
    ),
)

special.register()
cancelling.register()
for _name, _level, _row in _ROWS:
    CASES[_name] = Case(
        _name, _level, _row.play, suspends="/suspend/" in _name, slow=_row.iterations > 1
    )
