"""The page-exact model: windows of every stream kind, and runs whose measured numbers are known."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from migsim.errors import ParameterError
from migsim.predict.batch import predict_batch
from migsim.predict.exact import predict_exact
from migsim.predict.inputs import Inputs
from migsim.predict.models import predict_with

MIB = 1 << 20
# A guest that was measured five times; the numbers are medians over the repeats.
IDLE = {
    "id": "idle",
    "ram_mib": 512,
    "ws_pages": 20000,
    "fill_pages": 40000,
    "rate": 0.0,
    "pattern": "random",
    "max_bandwidth": 64 * MIB,
    "time_limit_s": 9.0,
}
COPIED = IDLE | {
    "ram_mib": 1024,
    "fill_pages": 60000,
    "rate": 5000.0,
    "transport": "file",
    "mode": "cpr-reboot",
    "max_bandwidth": 256 * MIB,
}
MAPPED = IDLE | {
    "transport": "file",
    "capabilities": ["mapped-ram"],
    "max_bandwidth": 128 * MIB,
    "rate": 5000.0,
}
MULTIFD = IDLE | {
    "capabilities": ["multifd"],
    "parameters": {"multifd-channels": 2},
    "rate": 5000.0,
}


@pytest.mark.parametrize(
    ("config", "total_ms", "transferred", "passes"),
    [(IDLE, 2455, 165111035, 3), (COPIED, 969, 248190431, 3), (MAPPED, 1229, 185556738, 3)],
)
def test_measured_runs(config, total_ms, transferred, passes):
    answer = predict_exact(Inputs.from_config(config))
    assert answer.converges
    assert answer.total_time_ms == pytest.approx(total_ms, rel=0.03)
    assert answer.transferred_bytes == pytest.approx(transferred, rel=0.003)
    assert answer.dirty_sync_count == passes


def windows(config):
    """Return the pages with content of each full window in the middle of pass 1."""
    answer = predict_exact(
        Inputs.from_config(config | {"rate": 0.0, "ws_pages": 60000}), trajectory=True
    )
    full = [p for p in answer.trajectory if p.passes == 1][2:-4]
    moved = [b.remaining_bytes for b in full]
    return {(a - b) // 4096 for a, b in pairwise(moved)}


@pytest.mark.parametrize(
    ("config", "pages"),
    [
        (IDLE, -(-(64 * MIB // 10) // 4104 // 32) * 32),
        (MAPPED, -(-(128 * MIB // 10) // 4096)),
        (MULTIFD, (-(-(64 * MIB // 10) // 524288) + 2) * 128),
    ],
)
def test_window_overshoots_by_the_quantum_of_the_stream_kind(config, pages):
    if config is IDLE:
        pages = (64 * MIB // 10 // (32 * 4104) + 1) * 32
    seen = windows(config)
    assert pages in seen


def test_same_seed_same_answer_and_another_seed_another_one():
    inputs = Inputs.from_config(IDLE | {"rate": 9000.0})
    assert predict_exact(inputs, seed=3) == predict_exact(inputs, seed=3)
    assert predict_exact(inputs, seed=3).normal_pages != predict_exact(inputs, seed=4).normal_pages


def test_reboot_without_ram_is_short_and_stops_for_all_of_it():
    config = IDLE | {"mode": "cpr-reboot", "transport": "file", "ram_backing": "shared"}
    answer = predict_exact(Inputs.from_config(config | {"capabilities": ["x-ignore-shared"]}))
    assert answer.total_time_ms == answer.downtime_ms < 20
    assert answer.transferred_bytes == pytest.approx(106677, rel=0.01)
    assert answer.dirty_sync_count == 2


def test_a_guest_faster_than_the_link_does_not_converge():
    answer = predict_with("exact", Inputs.from_config(IDLE | {"rate": 30000.0, "ws_pages": 60000}))
    assert not answer.converges
    assert answer.total_time_ms is None
    assert answer.why[0].startswith("Not converging")


def test_batch_reads_nothing_but_the_config():
    line = json.dumps({"config": IDLE, "outcome": "unreadable", "guest": None})
    [answer] = predict_batch([line, ""], lambda i: predict_with("exact", i))
    assert answer["config"] == {"id": "idle"}
    prediction = answer["prediction"]
    assert prediction["status"] == "completed"
    low, high = prediction["interval"]["total_time_ms"]
    assert low < prediction["total_time_ms"] < high


@pytest.mark.parametrize("line", ["[]", "{}", "nonsense", '{"config": 3}'])
def test_batch_names_a_line_that_is_none(line):
    with pytest.raises(ParameterError, match="line 1"):
        list(predict_batch([line], lambda i: predict_with("exact", i)))


@pytest.mark.parametrize(
    "wrong", [{"rate": -1.0}, {"pattern": "spiral"}, {"ws_pages": 1 << 30}, {"ram_mib": 0}]
)
def test_impossible_configurations_are_refused(wrong):
    with pytest.raises(ParameterError):
        Inputs.from_config(IDLE | wrong)


def test_capability_that_is_not_modelled_is_refused():
    with pytest.raises(ParameterError, match="xbzrle"):
        predict_exact(Inputs.from_config(IDLE | {"capabilities": ["xbzrle"]}))
