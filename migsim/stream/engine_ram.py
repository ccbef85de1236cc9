"""RAM as a live migration writes it: over multifd channels, or with XBZRLE from the second pass on.

Both follow the scan over RAM, which tells them each time that it goes round (`wrapped`).
Source: spec stream.md sections 8.5 and 11, lifecycle.md section 6; QEMU 10.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..qapi.enums import ZeroPageDetection
from .flush import PagePlan
from .multifd_ram import MultifdRamWriter
from .ram_records import name_field
from .ram_writer import RecordWriter
from .wire import SectionType
from .xbzrle_cache import XbzrleCache
from .xbzrle_records import Sent, encode_records

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .items import BlockInfo
    from .multifd_writer import MultifdWriter
    from .outfile import OutFile

ENCODED_BATCH_PAGES = 32
"""Pages looked up at once, as their bytes are not known before; QEMU's file object flushes at the
latest after as many."""


class MultifdPassWriter(MultifdRamWriter):
    """Pages in packets of further channels, with a synchronisation point for each pass.

    Args:
        out: the main channel.
        channels: the others.
        detection: who looks for zero pages; ``legacy`` makes them records of the main channel.
        per_section: machine types up to 8.0: a point at each end of a part, without a record.
    """

    def __init__(
        self,
        out: OutFile,
        channels: MultifdWriter,
        *,
        detection: ZeroPageDetection,
        per_section: bool = False,
    ) -> None:
        super().__init__(out, channels)
        self._legacy = detection is ZeroPageDetection.LEGACY
        self._per_section = per_section

    @property
    def side_bytes(self) -> int:
        """Bytes written to the channels."""
        return self._channels.bytes_written

    def block_list(self, blocks: Sequence[BlockInfo]) -> None:
        """Write the list, and the point without which a receiver crashes at the first page."""
        RecordWriter.block_list(self, blocks)
        if not self._per_section:
            self.synchronise()

    def plan(self, block: str, zero_mask: NDArray[np.bool_], budget: int | None) -> PagePlan:
        """Let pages out up to the end of the packet: what it costs is known only then."""
        if budget is not None and budget < 0:
            return PagePlan(0, 0, self._out.state)
        if not self._legacy:
            return PagePlan(min(zero_mask.size, self._channels.room), 0, self._out.state)
        normals = np.flatnonzero(~zero_mask)
        count = zero_mask.size
        if normals.size >= self._channels.room:
            count = int(normals[self._channels.room - 1]) + 1
        zeros = np.flatnonzero(zero_mask[:count])
        records = super(MultifdRamWriter, self).plan(block, np.ones(zeros.size, np.bool_), budget)
        if records.count < zeros.size:
            count = int(zeros[records.count])
        return PagePlan(count, 0, self._out.state)

    def pages(
        self,
        block: str,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8] | None,
        zero_mask: NDArray[np.bool_],
        plan: PagePlan | None,
    ) -> None:
        """Hand pages to the channels; the scan sends each once between two points."""
        if data is None:
            self.skip_pages(block, zero_mask, plan)
        elif not self._legacy:
            self._channels.send(block, pfns, data, zero_mask)
        else:
            RecordWriter.pages(
                self, block, pfns[zero_mask], data[zero_mask], zero_mask[zero_mask], None
            )
            if not zero_mask.all():
                self._channels.send(block, pfns[~zero_mask], data[~zero_mask])

    def wrapped(self) -> None:
        """Synchronise: the scan begins another round."""
        if not self._per_section:
            self.synchronise()

    def synchronise(self, address: int = 0) -> None:
        """Mark the point on all channels, and on the main one at once."""
        self._channels.sync()
        RecordWriter.synchronise(self, address)
        self._out.flush()

    def end_part(self, kind: SectionType) -> None:
        """Synchronise without a record where each end of a part is a point."""
        if self._per_section and kind is not SectionType.EOF:
            self._channels.sync()


class XbzrleWriter(RecordWriter):
    """Records of the stream; from the second pass on a page the receiver knows is a delta.

    Args:
        out: where the records go.
        cache: pages as they were sent last.
        first_pfns: number of each block's first page in the address space of all blocks.

    Attributes:
        dirty_sync_count: dirty syncs so far.
        last_stage: the guest has stopped for good.
    """

    def __init__(self, out: OutFile, cache: XbzrleCache, first_pfns: Mapping[str, int]) -> None:
        super().__init__(out)
        self.cache = cache
        self.dirty_sync_count = 0
        self.last_stage = False
        self._first_pfns = first_pfns
        self._started = False
        self._compact_pages = 0

    @property
    def compact_pages(self) -> int:
        """Pages sent as deltas, or not at all because they did not change."""
        return self._compact_pages

    def wrapped(self) -> None:
        """Begin to encode: everything has been sent once."""
        self._started = True

    def resize(self, size_bytes: int) -> None:
        """Make the cache as large as the parameter says now; another one begins empty."""
        if size_bytes != self.cache.size_bytes:
            self.cache = XbzrleCache(size_bytes, stats=self.cache.stats)

    def plan(self, block: str, zero_mask: NDArray[np.bool_], budget: int | None) -> PagePlan:
        """Let few pages out at once while their bytes are not known before."""
        if not self._started:
            return super().plan(block, zero_mask, budget)
        count = 0 if budget is not None and budget < 0 else ENCODED_BATCH_PAGES
        return PagePlan(min(count, zero_mask.size), 0, self._out.state)

    def pages(
        self,
        block: str,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8] | None,
        zero_mask: NDArray[np.bool_],
        plan: PagePlan | None,
    ) -> None:
        """Write pages as records of the form that is best for each."""
        if not self._started or data is None:
            super().pages(block, pfns, data, zero_mask, plan)
            return
        if not pfns.size:
            return
        name = self.next_name(block)
        how = self.cache.send(
            pfns + self._first_pfns[block],
            data,
            zero_mask,
            self.dirty_sync_count,
            last_stage=self.last_stage,
            name_bytes=len(name_field(name)),
        )
        kinds = how.kinds[how.kinds != Sent.NOTHING]
        whole = (kinds == Sent.PAGE) | (kinds == Sent.ZERO)
        self._compact_pages += pfns.size - int(np.count_nonzero(whole))
        if kinds.size:
            raw = encode_records(name, pfns, data, how.kinds, how.deltas)
            self._out.put_records(name, kinds != Sent.PAGE, raw)
            self._last_block = block
