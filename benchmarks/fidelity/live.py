"""Guests that are predicted over QMP and then really migrated."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from migsim.predict.compare import compare
from migsim.predict.models import predict_with
from migsim.predict.probe import inputs_of_probe, probe
from migsim.predict.qmpclient import ReadOnlyQmp

from .new_runs import measuring

MIB = 1 << 20
LIMIT_S = 15.0
BUSY_LOAD = 4.0
"""Load average from which on the runs are called disturbed; they make about two of it themselves."""


def measure_live(count, seed, host, path: Path):
    """Predict ``count`` running guests by the probe alone, migrate each, append to ``path``."""
    measure, campaign = measuring()
    rng = random.Random(seed)
    accel = measure.pick_accel("auto")
    tsc_hz = measure.calibrate_tsc("qemu-system-x86_64", accel)
    with path.open("a") as out:
        for number in range(count):
            bandwidth = int(campaign.log_uniform(rng, 32, 128)) * MIB
            drawn = campaign.draw(
                rng, ram=rng.choice([256, 512, 1024]), bw=bandwidth, seconds=(0.4, 4.0)
            )
            config = measure.Config(**drawn | {"id": f"live-{seed}-{number:02d}"})
            try:
                record = one(measure, config, accel, tsc_hz, host)
            except (measure.QmpError, OSError, subprocess.SubprocessError) as error:
                print(f"{config.id}: not measured: {error}", file=sys.stderr)
                continue
            out.write(json.dumps(record) + "\n")
            out.flush()
            print(line(record), file=sys.stderr, flush=True)


def one(measure, config, accel, tsc_hz, host):
    """Start a guest, ask it, predict, migrate it; return both."""
    work = Path(tempfile.mkdtemp(prefix="live-"))
    started = []
    try:
        rom = work / "guest.rom"
        rom.write_bytes(
            measure.make_guest.make_image(
                config.ram_mib * MIB,
                tsc_hz,
                ws_pages=config.ws_pages,
                rate=config.rate,
                pattern=config.pattern,
                ws_start=config.ws_start,
                hot_fraction=config.hot_fraction,
                hot_share=config.hot_share,
                fill_pages=config.fill_pages,
                max_lag_ms=config.max_lag_ms,
                seed=config.seed,
                touch=config.ws_pages > 0,
                machine=config.machine,
            )
        )
        args = ["-machine", f"{config.machine},accel={accel}", "-m", f"{config.ram_mib}M"]
        args += ["-bios", str(rom), "-cpu", config.cpu]
        second = work / "probe.qmp"
        extra = ["-qmp", f"unix:{second},server=on,wait=off"]
        source = measure.Qemu("qemu-system-x86_64", args + extra, str(work), "src")
        started.append(source)
        wait_for_guest(measure, source, work)
        measure.prewarm(config.nonzero_pages() * 4096 + 64 * MIB)
        target = measure.Qemu("qemu-system-x86_64", [*args, "-incoming", "defer"], str(work), "dst")
        started.append(target)
        for end in (source, target):
            measure.set_up(end, config, ["events"])
        uri = f"unix:{work / 'mig.sock'}"
        target.cmd("migrate-incoming", uri=uri)
        before = settings(source)
        with ReadOnlyQmp(str(second)) as connection:
            seen = probe(connection)
        inputs = inputs_of_probe(seen, time_limit_s=LIMIT_S)
        prediction = predict_with("exact", inputs, host)
        ways = {c.way.label: c.prediction.total_time_ms for c in compare(inputs, host)}
        unchanged = settings(source) == before
        info = migrate(source, uri)
        return {
            "id": config.id,
            "config": asdict(config),
            "nonzero": {"true": config.nonzero_pages(), "probed": inputs.nonzero_pages},
            "curve": [list(x) for x in zip(seen.curve.seconds, seen.curve.pages, strict=True)]
            if seen.curve
            else [],
            "prediction": {
                key: value
                for key, value in prediction.to_dict().items()
                if key not in ("trajectory", "assumed", "why")
            },
            "ways": ways,
            "settings_unchanged": unchanged,
            "outcome": info,
            "load_avg": os.getloadavg()[0],
        }
    finally:
        for process in started:
            process.kill()
        shutil.rmtree(work, ignore_errors=True)


def settings(qemu):
    """Return everything of a QEMU that the probe must not change."""
    names = ("query-status", "query-migrate-parameters", "query-migrate-capabilities")
    return [qemu.cmd(name) for name in (*names, "query-migrate")]


def wait_for_guest(measure, source, work):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        status = source.guest_status(str(work))
        if status and status["phase"] >= 2:
            time.sleep(0.3)
            return
        time.sleep(0.02)
    raise measure.QmpError("guest did not start")


def migrate(source, uri):
    source.cmd("migrate", uri=uri)
    end = time.monotonic() + LIMIT_S
    cancelled, ram = False, None
    while True:
        info = source.cmd("query-migrate", timeout=30)
        ram = info.get("ram", ram)
        if info["status"] in ("completed", "failed", "cancelled"):
            return {
                "status": info["status"],
                "total_time": info.get("total-time"),
                "downtime": info.get("downtime"),
                "transferred": ram["transferred"] if ram else None,
                "passes": ram["dirty-sync-count"] if ram else None,
            }
        if time.monotonic() > end and not cancelled:
            cancelled = True
            source.cmd("migrate_cancel")
        time.sleep(0.05)


def cells(record):
    config, p, o = record["config"], record["prediction"], record["outcome"]
    guest = (
        f"{config['ram_mib']} MiB, {config['pattern'] if config['rate'] else 'idle'},"
        f" {config['rate']:.0f}/s"
    )
    limits = f"{config['max_bandwidth'] // MIB} MiB/s, {config['downtime_limit']} ms"

    def ms(value):
        return "-" if value is None else f"{value:.0f}"

    off = "-"
    if o["total_time"] and p["total_time_ms"]:
        off = f"{p['total_time_ms'] / o['total_time'] - 1:+.1%}"
    return (
        *(record["id"], guest, limits, p["status"], o["status"]),
        *(ms(p["total_time_ms"]), ms(o["total_time"]), off),
        *(ms(p["downtime_ms"]), ms(o["downtime"]), f"{record['load_avg']:.1f}"),
    )


def line(record):
    return " | ".join(cells(record))


def live_table(path: Path):
    """Return the section about live guests, empty when none was measured."""
    if not path.exists():
        return ""
    records = [json.loads(text) for text in path.read_text().splitlines() if text.strip()]
    if not records:
        return ""
    off = [
        abs(r["prediction"]["total_time_ms"] / r["outcome"]["total_time"] - 1)
        for r in records
        if r["outcome"]["total_time"] and r["prediction"]["total_time_ms"]
    ]
    right = sum(r["prediction"]["status"] == r["outcome"]["status"] for r in records)
    held = []
    for r in records:
        with contextlib.suppress(KeyError):
            low, high = r["prediction"]["intervals"]["total_time_ms"]
            if r["outcome"]["total_time"]:
                held.append(low <= r["outcome"]["total_time"] <= high)
    loads = [r["load_avg"] for r in records]
    busy = ""
    if statistics.median(loads) > BUSY_LOAD:
        busy = (
            " Other work kept the processors busy, so guest, sender and target waited for them;"
            "\nthese numbers say little about the prediction."
        )
    rows = "\n".join(f"| {' | '.join(cells(r))} |" for r in records)
    median = statistics.median(off) if off else float("nan")
    return f"""## Live guests, asked over QMP

{len(records)} running guests, predicted from what `migsim predict --qmp` learns by read-only commands alone (memory
size, settings, `calc-dirty-rate` by page sampling at four periods, resident memory of the process), then
really migrated. The last column is the load average of the two processors while the run was made, the guest
and both QEMU processes included: {min(loads):.1f} to {max(loads):.1f}.{busy} No run was left out. Verdict right in {right} of {len(records)}, total time off by {median:.1%} (median), inside the
interval in {sum(held)} of {len(held)}; settings and state were the same before and after the probe in
{sum(r["settings_unchanged"] for r in records)}.

| guest | writes | limits | predicted | measured | total ms, predicted | measured | off | downtime ms, predicted | measured | load |
|---|---|---|---|---|---|---|---|---|---|---|
{rows}

"""
