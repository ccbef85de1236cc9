"""How a stream is put together, apart from what it says."""

from __future__ import annotations

from dataclasses import dataclass

from ..units import PAGE_BITS


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Compatibility switches that change the layout but are not recorded in the stream.

    None means: find out while reading; on writing it means on.

    Attributes:
        footers: each section ends with a footer (property ``migration.send-section-footer``).
        configuration: a configuration section follows the header (property
            ``migration.send-configuration``; QEMU 10.0 can only leave it out together with the
            description, ``suppress-vmdesc=on``, and aborts otherwise).
        page_bits: target page size as a power of two where the configuration does not say, 10 to
            16; 12 on x86.

    Source: spec stream.md sections 3.2 and 4.3, interop.md section 4, QEMU 10.0.
    """

    footers: bool | None = True
    configuration: bool | None = True
    page_bits: int = PAGE_BITS


QEMU_DEFAULTS = StreamOptions()
"""What a QEMU writes and expects unless it is told otherwise."""
DETECT = StreamOptions(footers=None, configuration=None)
"""Whatever the stream has."""
