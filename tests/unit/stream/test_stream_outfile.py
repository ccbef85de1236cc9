"""The output file: what it counts, and that the bytes arrive."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.channel import CountingOutput, Fault, FaultyOutput, MemoryOutput
from migsim.errors import ChannelError
from migsim.stream import EOS_RECORD, FlushState, OutFile, encode_pages, plan_pages, records_bytes

HEADER, FOOTER = b"\2\0\0\0\1", b"\x7e\0\0\0\1"


def windows(zero, budget_bytes, count):
    """Play ``count`` windows of a rate limit; yield pages and bytes of each."""
    out = OutFile(CountingOutput())
    out.put(bytes(137))
    out.flush()
    out.put(FOOTER)
    for _ in range(count):
        base = out.transferred
        out.put(HEADER)
        mask = np.full(10_000, zero)
        plan = out.plan(None, mask, budget_bytes - (out.transferred - base))
        out.put_pages(None, np.arange(plan.count), None, mask[: plan.count], plan)
        out.put(EOS_RECORD)
        out.flush()
        out.put(FOOTER)
        yield plan.count, out.transferred - base


def test_a_window_at_20_mib_per_second_moves_16_flushes_and_its_framing():
    """Seen on QEMU 10.0.2 (spec lifecycle.md section 6)."""
    assert set(windows(False, 20 * 1024 * 1024 // 10, 4)) == {(512, 16 * 131328 + 18)}


def test_a_window_at_20000_bytes_per_second_moves_one_buffer():
    """Seen on QEMU 10.0.2 (spec lifecycle.md section 6)."""
    pages = [count for count, _ in windows(True, 2000, 4)]
    assert pages == [3640] * 4


def test_parts_at_4_mib_per_second_grow_in_steps_of_32_pages():
    """128 pages a window (spec stream.md section 8.3)."""
    assert [count for count, _ in windows(False, 4 * 1024 * 1024 // 10, 3)] == [128] * 3


@pytest.mark.parametrize(
    ("pages", "flushed", "queued"),
    [(31, 0, 31 * 4104), (32, 131328, 0), (33, 131328, 4104), (64, 262656, 0)],
)
def test_normal_pages_leave_in_groups_of_32(pages, flushed, queued):
    plan = plan_pages(np.zeros(pages, bool), 0, FlushState())
    assert (plan.flushed_bytes, plan.state.queued_bytes) == (flushed, queued)


@pytest.mark.parametrize(
    ("pages", "flushed", "queued"),
    [(3640, 0, 32760), (3641, 32768, 1), (7281, 32768, 32761), (7282, 65536, 2)],
)
def test_zero_pages_leave_by_full_buffers(pages, flushed, queued):
    plan = plan_pages(np.ones(pages, bool), 0, FlushState())
    assert (plan.flushed_bytes, plan.state.queued_bytes) == (flushed, queued)


def test_the_name_of_the_first_record_counts():
    plan = plan_pages(np.ones(1, bool), 5, FlushState())
    assert plan.state == FlushState(1, 14, 0, True)


@pytest.mark.parametrize(("budget", "count"), [(-1, 0), (0, 32), (131327, 32), (131328, 64)])
def test_a_budget_is_exceeded_only_by_more_than_itself(budget, count):
    assert plan_pages(np.zeros(500, bool), 0, FlushState(), budget).count == count


def test_no_candidates_change_nothing():
    state = FlushState(3, 70, 1, True)
    plan = plan_pages(np.zeros(0, bool), 0, state, 5)
    assert (plan.count, plan.flushed_bytes, plan.state) == (0, 0, state)


def test_a_phantom_terabyte_is_planned_without_walking_it():
    mask = np.ones(1 << 24, bool)
    plan = plan_pages(mask, 0, FlushState())
    assert plan.flushed_bytes + plan.state.queued_bytes == 9 << 24


def data_for(count):
    return np.repeat(np.arange(1, count + 1, dtype=np.uint8)[:, None], 4096, axis=1)


@pytest.mark.parametrize("pattern", ["normal", "zero", "mixed"])
@pytest.mark.parametrize("name", ["ram0", None])
def test_bytes_arrive_in_order_whatever_the_pieces(pattern, name):
    mask = {
        "normal": np.zeros(40, bool),
        "zero": np.ones(40, bool),
        "mixed": np.arange(40) % 3 == 0,
    }[pattern]
    sink = MemoryOutput()
    out = OutFile(sink)
    out.put(b"head")
    data = data_for(40)
    out.put_pages(name, np.arange(40), data, mask)
    out.put(b"t" * (3 << 20))
    out.put(b"tail")
    out.flush()
    records = encode_pages(name, np.arange(40), data, mask).tobytes()
    assert sink.getvalue() == b"head" + records + b"t" * (3 << 20) + b"tail"
    assert out.transferred == out.position == len(sink.getvalue())
    assert out.queued == 0


def test_a_counting_sink_counts_what_a_real_one_gets():
    mask = np.random.default_rng(5).random(3000) < 0.4
    real, counting = MemoryOutput(), CountingOutput()
    outs = OutFile(real), OutFile(counting)
    for out, data in zip(outs, (np.zeros((3000, 4096), np.uint8), None), strict=True):
        out.put(b"\1" * 100)
        out.put_pages("ram0", np.arange(3000), data, mask)
        out.put(b"\2" * 100_000) if data is not None else out.skip(100_000)
    assert outs[0].transferred == outs[1].transferred
    assert outs[0].state == outs[1].state
    for out in outs:
        out.flush()
    assert real.position == counting.position == outs[0].transferred
    assert real.position == 100_100 + records_bytes("ram0", mask)


def test_pages_that_are_skipped_count_as_pages_that_are_put():
    mask = np.random.default_rng(6).random(500) < 0.4
    put, skipped = OutFile(CountingOutput()), OutFile(CountingOutput())
    for name in ("ram0", None):
        put.put_pages(name, np.arange(500), None, mask)
        skipped.skip_pages(name, mask)
        assert skipped.state == put.state
        assert skipped.transferred == put.transferred
        assert skipped.position == put.position
    with pytest.raises(TypeError, match="counts"):
        OutFile(MemoryOutput()).skip_pages("ram0", mask)


def test_pages_cannot_be_left_out_of_a_real_stream():
    out = OutFile(MemoryOutput())
    with pytest.raises(TypeError, match="counts"):
        out.put_pages(None, np.arange(2), None, np.zeros(2, bool))


def test_a_broken_channel_shows_at_the_flush_and_keeps_what_fitted():
    sink = MemoryOutput()
    out = OutFile(FaultyOutput(sink, Fault(10)))
    out.put(b"0123456789abcdef")
    with pytest.raises(ChannelError):
        out.flush()
    assert sink.getvalue() == b"0123456789"


def test_flushing_is_idempotent():
    out = OutFile(CountingOutput())
    out.put(b"abc")
    assert (out.transferred, out.queued) == (0, 3)
    out.flush()
    out.flush()
    assert (out.transferred, out.queued, out.state) == (3, 0, FlushState())
