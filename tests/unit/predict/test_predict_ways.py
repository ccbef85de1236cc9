"""Comparison, advice, baselines, curves, host constants and the commands around them."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from migsim.cli.app import run
from migsim.errors import ConfigError, ParameterError, StateError
from migsim.predict.advise import Goals, advise
from migsim.predict.baselines import BASELINES, predict_baseline
from migsim.predict.batch import predict_batch
from migsim.predict.compare import compare
from migsim.predict.curve import DirtyCurve, distinct
from migsim.predict.defaults import inputs_from
from migsim.predict.fluid import predict_fluid
from migsim.predict.hostmodel import REFERENCE, HostModel
from migsim.predict.inputs import Transport
from migsim.predict.models import predict_with
from migsim.predict.probe import inputs_of_probe, probe
from migsim.predict.throttling import effective_share

MIB = 1 << 20
GUEST = inputs_from(
    {"ram_bytes": 256 * MIB, "rate_pages_per_s": 3000.0, "working_set_bytes": 40 * MIB}
)


def test_defaults_are_named_and_said_ones_are_not():
    names = dict(GUEST.assumed)
    assert "max-bandwidth" in names
    assert "nonzero fraction" in names
    assert "dirty rate" not in names
    assert "max-bandwidth" not in dict(
        inputs_from({"ram_bytes": 256 * MIB, "max_bandwidth": 1 << 20}).assumed
    )


def test_ram_is_needed():
    with pytest.raises(ParameterError, match="ram"):
        inputs_from({})


def test_in_place_stops_shortest_and_copied_longest():
    answers = {c.way.label: c.prediction for c in compare(GUEST)}
    in_place = answers["cpr-reboot, in place"]
    assert in_place.downtime_ms == min(a.downtime_ms for a in answers.values())
    copied = answers["cpr-reboot, copied"]
    assert copied.downtime_ms == copied.total_time_ms > 500


def test_advice_meets_the_goals_or_says_why_not():
    advice = advise(GUEST, Goals(stop_ms=100, total_s=60, modes=frozenset({"normal"})))
    assert not advice[0].rejected
    assert advice[0].prediction.downtime_ms <= 100
    refused = {a.label: a.rejected for a in advice if a.rejected}
    assert "not wanted" in refused["cpr-reboot, in place"]


def test_impossible_goals_reject_everything():
    advice = advise(GUEST, Goals(stop_ms=0.1, total_s=0.001, throttle=False))
    assert all(a.rejected for a in advice)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_answer(name):
    answer = predict_baseline(name, GUEST)
    assert answer.converges
    assert 0 < answer.total_time_ms < 10_000


def test_half_bandwidth_takes_twice_as_long():
    once = predict_baseline("ram-over-bandwidth", GUEST).total_time_ms
    assert predict_baseline("half-bandwidth", GUEST).total_time_ms == pytest.approx(2 * once)


def test_unknown_model_is_named():
    with pytest.raises(ParameterError, match="oracle"):
        predict_with("oracle", GUEST)


def test_curve_of_two_sets_is_followed():
    times = np.array([0.1, 0.3, 1.0, 3.0, 10.0])
    seen = distinct(2000, 20000, times) + distinct(50000, 3000, times)
    (hot, hot_rate), (cold, cold_rate) = DirtyCurve(tuple(times), tuple(seen)).mixture(1 << 18)
    model = distinct(hot, hot_rate, times) + distinct(cold, cold_rate, times)
    assert np.abs(model / seen - 1).max() < 0.1


def test_curve_and_the_same_workload_agree():
    times = np.array([0.1, 0.3, 1.0, 3.0])
    seen = distinct(10240, 3000, times)
    by_curve = GUEST.with_settings(curve=DirtyCurve(tuple(times), tuple(seen)))
    a, b = predict_fluid(GUEST), predict_fluid(by_curve)
    assert b.total_time_ms == pytest.approx(a.total_time_ms, rel=0.05)


@pytest.mark.parametrize("points", [((), ()), ((1.0,), (1.0, 2.0)), ((2.0, 1.0), (1, 2))])
def test_curves_that_are_none(points):
    with pytest.raises(ParameterError):
        DirtyCurve(*points)


def test_throttled_guest_makes_good_what_it_can():
    assert effective_share(0, 5) == 1
    assert effective_share(50, 20) == 1
    assert effective_share(50, 0) == pytest.approx(0.5)
    assert effective_share(90, 0) == pytest.approx(0.1)


def test_host_constants_are_kept_and_checked(tmp_path):
    path = tmp_path / "host.json"
    host = REFERENCE.updated(name="here", wake_late_s=0.001)
    host.save(path)
    assert HostModel.load(path) == host
    path.write_text('{"warp_s": 1}')
    with pytest.raises(ConfigError, match="warp_s"):
        HostModel.load(path)
    path.write_text('{"wake_late_s": -1}')
    with pytest.raises(ConfigError):
        HostModel.load(path)


class FakeQmp:
    """Answers as a running QEMU would, and remembers what it was asked."""

    def __init__(self, status="measured"):
        self.asked = []
        self.status = status
        self.period = 0

    def ask(self, command, **arguments):
        self.asked.append(command)
        if command == "calc-dirty-rate":
            self.period = arguments["calc_time"]
        return {
            "query-version": {"qemu": {"major": 10, "minor": 0, "micro": 2}},
            "query-memory-size-summary": {"base-memory": 512 * MIB, "plugged-memory": 0},
            "query-migrate-capabilities": [{"capability": "auto-converge", "state": True}],
            "query-migrate": {},
            "query-dirty-rate": {"status": self.status, "dirty-rate": 20},
            "query-status": {"running": True, "status": "running"},
            "query-migrate-parameters": {"max-bandwidth": 64 * MIB, "downtime-limit": 100},
            "calc-dirty-rate": {},
        }[command]

    def peer_pid(self):
        return None


def test_probe_turns_answers_into_inputs():
    seen = probe(FakeQmp(), sleep=lambda seconds: None)
    inputs = inputs_of_probe(seen)
    assert inputs.ram_bytes == 512 * MIB
    assert inputs.max_bandwidth == 64 * MIB
    assert inputs.auto_converge
    assert inputs.curve.pages[0] == pytest.approx(20 * 256 * 0.1)
    assert dict(inputs.assumed)["nonzero fraction"] == "0.5"


def test_probe_leaves_the_measurement_of_others_alone():
    with pytest.raises(StateError):
        probe(FakeQmp("measuring"), sleep=lambda seconds: None)


def test_commands_print_json(capsys):
    assert run(["predict", "--ram", "256M", "--rate", "1000", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] == "completed"
    assert answer["assumed"]["max-bandwidth"] == "128 MiB/s"
    assert run(["compare", "--ram", "256M", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 6
    assert run(["advise", "--ram", "256M", "--longest-time", "0.0011", "--mode", "normal"]) == 1
    assert "does not end" in capsys.readouterr().out


def test_predict_batch_command(tmp_path, capsys):
    path = tmp_path / "configs.jsonl"
    path.write_text('{"config": {"id": "a", "ram_mib": 256}}\n')
    assert run(["predict", "--batch", str(path), "--model", "fluid"]) == 0
    assert json.loads(capsys.readouterr().out)["config"] == {"id": "a"}
    with pytest.raises(ConfigError):
        run(["predict", "--batch", str(tmp_path / "missing")])


def test_guest_that_does_not_converge_has_status_1(capsys):
    words = ["predict", "--ram", "256M", "--rate", "60000", "--working-set", "200M"]
    assert run([*words, "--bandwidth", "32M", "--time-limit", "20"]) == 1
    assert "Not converging" in capsys.readouterr().out


def test_batch_answers_the_other_lines_when_one_cannot_be_predicted(tmp_path, capsys):
    path = tmp_path / "configs.jsonl"
    lines = [
        {"config": {"id": "odd", "capabilities": ["xbzrle"]}},
        {"config": {"id": "words", "rate": "many"}},
        {"config": {"id": "good", "ram_mib": 256, "rate": None}, "outcome": {"total_time": 1}},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(["predict", "--batch", str(path)]) == 1
    odd, words, good = map(json.loads, capsys.readouterr().out.splitlines())
    assert "xbzrle" in odd["error"]
    assert "many" in words["error"]
    assert good["prediction"]["status"] == "completed"


def test_batch_shared_by_processes_gives_the_same_answers():
    lines = [json.dumps({"config": {"id": str(i), "ram_mib": 256, "rate": i}}) for i in range(6)]
    predict = partial(predict_with, "fluid")
    assert list(predict_batch(lines, predict, jobs=2)) == list(predict_batch(lines, predict))


def test_loading_a_file_is_beside_the_stop():
    into_file = GUEST.with_settings(transport=Transport.FILE)
    for model in ("exact", "fluid"):
        parts = predict_with(model, into_file).downtime
        assert parts.load_ms == pytest.approx(10240 * 1.6e-3, rel=4)
        assert parts.load_ms > 100 * predict_with(model, GUEST).downtime.load_ms


def test_throttle_that_was_needed_is_told():
    busy = GUEST.with_settings(
        rate_pages_per_s=45000.0,
        working_set=(0, 50000),
        downtime_limit_ms=100,
        capabilities=frozenset({"auto-converge"}),
        catch_up_ms=0.5,
    )
    answer = predict_with("exact", busy)
    assert answer.converges
    assert answer.throttle > 0
    assert any("throttled" in reason for reason in answer.why)
