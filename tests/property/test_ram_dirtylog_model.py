"""The dirty log against the rules of KVM's manual protection, one chunk and page at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from migsim.ram.bitmap import DirtyBitmap
from migsim.ram.dirtylog import DirtyLog

SHIFT = 6


class DirtyLogMachine(RuleBasedStateMachine):
    """A guest that writes, a migration that reads the log, sends pages and clears chunks.

    The model keeps one set for the log and one for the last reading, and whether each chunk waits
    for its clear; it also keeps the truth, which pages differ from what was sent last.
    """

    @initialize(pages=st.sampled_from([1, 64, 65, 200, 640, 700]), full=st.booleans())
    def begin(self, pages, full):
        self.pages = pages
        self.log = DirtyLog(pages, SHIFT)
        self.dirty = DirtyBitmap(pages)
        self.dirty.set_all()
        self.model_dirty = set(range(pages))
        self.unsent = set(range(pages))
        self.start(full)

    def start(self, full):
        self.log.start(initially_set=full)
        self.logged = set(range(self.pages)) if full else set()
        self.reported = set()
        self.pending = set()
        # What was written while nothing was recorded has to be sent again.
        self.dirty.set_all()
        self.model_dirty = set(range(self.pages))

    @rule(full=st.booleans())
    def restart(self, full):
        self.log.stop()
        self.start(full)

    @rule(data=st.data())
    def write(self, data):
        pfns = data.draw(st.lists(st.integers(0, self.pages - 1), max_size=20))
        self.log.mark_pfns(np.array(pfns, np.int64))
        self.logged |= set(pfns)
        self.unsent |= set(pfns)

    @rule(data=st.data())
    def write_range(self, data):
        lo = data.draw(st.integers(0, self.pages))
        hi = data.draw(st.integers(lo, self.pages))
        self.log.mark_range(lo, hi)
        self.logged |= set(range(lo, hi))
        self.unsent |= set(range(lo, hi))

    @rule()
    def sync(self):
        new = self.log.sync(self.dirty)
        assert new == len(self.logged - self.model_dirty)
        self.model_dirty |= self.logged
        self.reported = set(self.logged)
        self.pending = {pfn >> SHIFT for pfn in range(self.pages)}
        # The promise that precopy rests on: after a reading, no unsent page is missing.
        assert self.unsent <= self.model_dirty

    @precondition(lambda self: self.model_dirty)
    @rule(data=st.data())
    def send(self, data):
        first = data.draw(st.sampled_from(sorted(self.model_dirty)))
        pfns = self.dirty.take(first, data.draw(st.integers(1, 100)))
        lo, hi = int(pfns[0]), int(pfns[-1])
        self.log.clear_chunks(lo, hi)
        for chunk in range(lo >> SHIFT, (hi >> SHIFT) + 1):
            if chunk in self.pending:
                self.logged -= {pfn for pfn in self.reported if pfn >> SHIFT == chunk}
                self.pending.discard(chunk)
        self.dirty.clear_pfns(pfns)
        self.model_dirty -= set(pfns.tolist())
        self.unsent -= set(pfns.tolist())

    @invariant()
    def same(self):
        if hasattr(self, "pages"):
            assert self.dirty.take(0, self.pages).tolist() == sorted(self.model_dirty)


TestDirtyLog = DirtyLogMachine.TestCase
