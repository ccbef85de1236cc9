"""The sending engine against a loop over single pages that follows spec lifecycle.md section 6.

The model owns nothing but the rules: it is told when the engine takes a step, which pages the guest
wrote meanwhile, and what memory holds.  Everything else (passes, windows, order of pages, bytes
that have left) it works out page by page, and every step has to agree.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.channel.counting import CountingOutput
from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.guest.workloads import Uniform
from migsim.machine.config import MachineConfig
from migsim.machine.timing import HostTiming
from migsim.migration.run import Stage
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.ram.block import RAMBlock
from migsim.stream import PageBatch, StreamReader
from migsim.vm import VM

PAGE = 4096
CHUNK_SHIFT = 6
"""Dirty-log chunks of 64 pages, so that small guests have several."""


@dataclass
class SlowFile:
    """QEMU's output file: 64 pieces or 32768 small bytes, then it writes."""

    flushed: int = 0
    entries: int = 0
    small: int = 0
    pages: int = 0
    open: bool = False
    marks: list[int] = field(default_factory=list)

    def flush(self) -> None:
        self.flushed += self.small + self.pages * PAGE
        self.marks.append(self.flushed)
        self.entries = self.small = self.pages = 0
        self.open = False

    def put(self, size: int) -> None:
        for _ in range(size):
            if not self.open:
                self.entries += 1
                self.open = True
            self.small += 1
            if self.entries == 64 or self.small == 32768:
                self.flush()

    def put_page(self) -> None:
        self.entries += 1
        self.pages += 1
        self.open = False
        if self.entries == 64:
            self.flush()


@dataclass
class NaiveEngine:
    """The precopy loop, one page at a time; a page is (block number, page number)."""

    names: list[str]
    sizes: list[int]
    rate_max: int
    downtime_limit_ms: int
    file: SlowFile = field(default_factory=SlowFile)
    dirty: set[tuple[int, int]] = field(default_factory=set)
    log: set[tuple[int, int]] = field(default_factory=set)
    reported: set[tuple[int, int]] = field(default_factory=set)
    uncleared: set[tuple[int, int]] = field(default_factory=set)
    sent: list[tuple[int, int, bool]] = field(default_factory=list)
    passes: int = 0
    threshold: int = 0
    window_ms: float = 0.0
    window_bytes: int = 0
    base: int = 0
    at: tuple[int, int] = (0, 0)
    last_block: int | None = None

    def start(self, now: float, transferred: int) -> None:
        """Setup is over; its bytes are not part of this model."""
        self.dirty = {(b, p) for b, size in enumerate(self.sizes) for p in range(size)}
        self.log = set(self.dirty)
        self.sync()
        self.file.flushed = transferred
        self.file.put(5)  # the footer follows the flush

    def guest_wrote(self, pfns: list[int]) -> None:
        self.log.update((0, pfn) for pfn in pfns)

    def sync(self) -> None:
        self.passes += 1
        self.dirty |= self.log
        self.reported = set(self.log)
        self.uncleared = {(b, p >> CHUNK_SHIFT) for b, p in self.log}

    def update_window(self, now: float) -> None:
        passed_ms = round((now - self.window_ms) * 1e6) // 1000
        if passed_ms < 100:
            return
        moved = self.file.flushed - self.window_bytes
        self.threshold = int(moved / passed_ms * self.downtime_limit_ms)
        self.window_ms, self.window_bytes = now, self.file.flushed
        self.base = self.file.flushed

    def over_rate(self) -> bool:
        return self.rate_max > 0 and self.file.flushed - self.base > self.rate_max

    def iterate(self, now: float, max_pages: int, nonzero) -> str:
        self.update_window(now)
        if self.over_rate():
            return "sleep"
        if len(self.dirty) * PAGE < self.threshold:
            self.sync()
        if not self.dirty or len(self.dirty) * PAGE < self.threshold:
            return "switchover"
        self.file.put(5)
        self.send(max_pages, nonzero, limited=True)
        self.end_part()
        return "part"

    def begin_final(self) -> None:
        self.file.put(5)  # SWITCHOVER_START
        self.file.put(5)
        self.sync()

    def end_part(self) -> None:
        self.file.put(8)
        self.file.flush()
        self.file.put(5)

    def send(self, max_pages: int, nonzero, *, limited: bool) -> None:
        for _ in range(max_pages):
            if not self.dirty or (limited and self.over_rate()):
                return
            later = [page for page in self.dirty if page >= self.at]
            block, pfn = min(later or self.dirty)
            self.at = (block, pfn + 1)
            self.dirty.remove((block, pfn))
            chunk = (block, pfn >> CHUNK_SHIFT)
            if chunk in self.uncleared:
                self.uncleared.remove(chunk)
                self.log -= {(b, p) for b, p in self.reported if (b, p >> CHUNK_SHIFT) == chunk}
            self.file.put(8 if block == self.last_block else 9 + len(self.names[block]))
            self.last_block = block
            if nonzero(block, pfn):
                self.file.put_page()
            else:
                self.file.put(1)
            self.sent.append((block, pfn, not nonzero(block, pfn)))


class Recorder(Uniform):
    """Uniform writes that are also handed to whoever asks."""

    def take(self, count):
        pfns = super().take(count)
        self.__dict__.setdefault("seen", []).extend(pfns.tolist())
        return pfns

    def since(self):
        return self.__dict__.pop("seen", [])


@dataclass(frozen=True)
class Case:
    pages: int
    other_pages: int
    normal: float
    rate: float
    bandwidth: int
    downtime_limit_ms: int
    page_us: int
    seed: int
    kind: BackendKind


def machine_for(case: Case) -> VM:
    timing = HostTiming(
        normal_page_s=case.page_us * 1e-6, zero_page_s=0.5e-6 * case.page_us, sync_page_s=0.0
    )
    other = BackendSpec(case.kind, "other", max(case.other_pages, 1) * PAGE).create()
    vm = VM(
        MachineConfig(
            memory=BackendSpec(case.kind, "main", case.pages * PAGE),
            extra_blocks=(RAMBlock("other", other),) if case.other_pages else (),
            workload=Recorder(0, case.pages - 1, rate_pages_per_s=case.rate, seed=case.seed),
            timing=timing,
            globals=(("x-clear-bitmap-shift", str(CHUNK_SHIFT)),),
        )
    )
    rng = np.random.default_rng(case.seed)
    for block in vm.ram:
        pfns, column = np.flatnonzero(rng.random(block.pages) < case.normal), rng.integers(0, PAGE)
        if case.kind is BackendKind.PHANTOM:
            block.backend.nonzero.set_pfns(pfns)
        else:
            block.view()[pfns, column] = 1
    vm.set_parameters({"max-bandwidth": case.bandwidth, "downtime-limit": case.downtime_limit_ms})
    return vm


def pages_of(stream: bytes, names: list[str], *, zero: bool) -> list[tuple[int, int, bool]]:
    """Pages of one kind in the order of their records; the reader gathers the kinds apart."""
    return [
        (names.index(item.block), pfn, zero)
        for item in StreamReader(MemoryInput(stream))
        if isinstance(item, PageBatch) and item.is_zero is zero
        for pfn in item.pfns.tolist()
    ]


def play(case: Case, limit_s: float = 2.0):
    """Run the engine beside the model; return what was sent and whether it came to an end."""
    phantom = case.kind is BackendKind.PHANTOM
    with machine_for(case) as vm:
        blocks = list(vm.ram)
        main = blocks.index(vm.ram["main"])
        assert main == 0 or case.other_pages > case.pages
        model = NaiveEngine(
            [block.name for block in blocks],
            [block.pages for block in blocks],
            case.bandwidth // 10,
            case.downtime_limit_ms,
        )
        step, worked = vm.source.step, []

        def nonzero(block: int, pfn: int) -> bool:
            if phantom:
                return bool(blocks[block].backend.nonzero.test(np.array([pfn]))[0])
            return bool(blocks[block].view()[pfn].any())

        def beside(now: float, max_pages: int):
            run = vm.source.run
            stage = run.stage
            model.log.update((main, pfn) for pfn in vm.guest.workload.since())
            before = len(model.sent)
            if stage is Stage.SETUP:
                model.window_ms = now
                work = step(now, max_pages)
                model.start(now, run.transfer.out.transferred)
                return work
            worked.append((stage.value, round(now, 9)))
            expected = "final"
            if stage in (Stage.ACTIVATE, Stage.ITERATE):
                expected = model.iterate(now, max_pages, nonzero)
            elif stage is Stage.FINAL_SYNC:
                model.begin_final()
            if stage in (Stage.FINAL_SYNC, Stage.FINAL_RAM):
                model.send(max_pages, nonzero, limited=False)
                if not model.dirty:
                    model.end_part()
            transfer = run.transfer
            work = step(now, max_pages)
            if stage in (Stage.DEVICES, Stage.FINISH):
                return work
            assert (work.wake_at is not None) == (expected == "sleep")
            assert (run.stage is Stage.FINAL_SYNC) == (expected == "switchover")
            new = model.sent[before:]
            assert work.normal_pages == sum(not zero for _, _, zero in new)
            assert work.zero_pages == sum(zero for _, _, zero in new)
            assert transfer.out.transferred == model.file.flushed
            assert transfer.sender.dirty_pages == len(model.dirty)
            assert run.counters.dirty_sync_count == model.passes
            assert run.convergence.threshold_bytes == model.threshold
            return work

        vm.source.step = beside
        vm.advance(0.01)
        vm.guest.workload.since()
        out = CountingOutput() if phantom else MemoryOutput()
        vm.migrate(out)
        deadline = vm.clock.now + limit_s
        vm.run_until(lambda: not vm.source.running or vm.clock.now >= deadline)
        ended = not vm.source.running
        if ended and not phantom:
            for zero in (True, False):
                expected = [page for page in model.sent if page[2] is zero]
                assert pages_of(out.getvalue(), model.names, zero=zero) == expected
        return model, worked, ended, out.position


cases = st.builds(
    Case,
    pages=st.integers(1, 400),
    other_pages=st.sampled_from([0, 0, 1, 70, 500]),
    normal=st.sampled_from([0.0, 0.02, 0.5, 0.97, 1.0]),
    rate=st.sampled_from([0.0, 40.0, 700.0, 5000.0]),
    bandwidth=st.sampled_from([0, 9, 20_000, 400_000, 1 << 20, 5 << 20, 40 << 20]),
    downtime_limit_ms=st.sampled_from([0, 1, 30, 300]),
    page_us=st.sampled_from([1, 17, 400]),
    seed=st.integers(0, 1 << 16),
    kind=st.sampled_from([BackendKind.RAM, BackendKind.PHANTOM]),
)


@given(cases)
@settings(max_examples=150)
def test_every_step_is_that_of_a_loop_over_pages(case):
    play(case)


@pytest.mark.parametrize("kind", [BackendKind.RAM, BackendKind.PHANTOM])
def test_a_guest_that_takes_several_passes_and_ends(kind):
    case = Case(400, 70, 0.5, 150.0, 1 << 20, 100, 17, 5, kind)
    model, worked, ended, _ = play(case, limit_s=30)
    assert ended
    assert model.passes > 3
    assert len(model.sent) > 470
    assert len(worked) > 10


def test_a_budget_that_a_flush_exactly_reaches_is_not_exceeded():
    case = Case(400, 0, 1.0, 0.0, 0, 300, 400, 1, BackendKind.RAM)
    flushes = play(case)[0].file.marks  # of records and of the ends of parts
    for used in flushes[:8]:
        for budget in (used - 1, used, used + 1):
            play(dataclasses.replace(case, bandwidth=budget * 10))


def test_a_guest_without_bytes_migrates_as_one_with_bytes():
    runs = [
        play(Case(300, 500, 0.3, 200.0, 1 << 20, 100, 17, 9, kind), limit_s=30)
        for kind in (BackendKind.RAM, BackendKind.PHANTOM)
    ]
    (real, *others), (phantom, *like_others) = runs
    assert real.sent == phantom.sent
    assert others == like_others
