"""``python -m benchmarks.fidelity``: errors of all models over measured runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from migsim.predict.baselines import BASELINES, predict_baseline
from migsim.predict.exact import predict_exact
from migsim.predict.fluid import predict_fluid_many
from migsim.predict.hostmodel import REFERENCE, HostModel

from . import plots, report
from .data import DATA, is_bound, load
from .live import live_table, measure_live
from .new_runs import measure_new
from .score import error_of
from .validation import coverage, left_out_errors

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "migrations.jsonl.xz")
    parser.add_argument("--busy", type=Path, default=DATA / "migrations_busy.jsonl.xz")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where fidelity.md goes")
    parser.add_argument("--calibration", type=Path, help="host constants other than the reference")
    parser.add_argument("--measure", type=int, metavar="N", help="make N new runs, then judge them")
    parser.add_argument("--live", type=int, metavar="N", help="predict N live guests, then migrate")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args(argv)
    host = HostModel.load(a.calibration) if a.calibration else REFERENCE
    if a.live:
        measure_live(a.live, a.seed, host, DATA / "live.jsonl")
    if a.measure:
        runs = load(measure_new(a.measure, a.seed))
        print(report.HEAD)
        for model, errors in all_errors(runs, host).items():
            print(report.row("new runs", model, errors))
        return 0
    write_page(a, host)
    return 0


def all_errors(runs, host):
    """Return the errors of every model, by name."""
    inputs = [run.inputs for run in runs]
    fluid = predict_fluid_many(inputs, host)
    out = {
        "exact": [error_of(r, predict_exact(i, host)) for r, i in zip(runs, inputs, strict=True)],
        "fluid": [error_of(r, p) for r, p in zip(runs, fluid, strict=True)],
    }
    for name in BASELINES:
        out[name] = [
            error_of(r, predict_baseline(name, i, host)) for r, i in zip(runs, inputs, strict=True)
        ]
    return out


def write_page(a, host):
    runs = load(a.data)
    by_model = all_errors(runs, host)
    exact = by_model["exact"]
    left_out, folds = left_out_errors(runs, host)
    bound = [e for e in left_out if is_bound(e.run)]
    covered = coverage(runs, [e.prediction for e in exact], host)
    steps = report.window_counts([run for run in runs if is_bound(run)])
    goals = report.targets(
        bound,
        [e for e in left_out if e.run.kind == "autoconv"],
        {label: [e for e in left_out if has(e.run)] for label, has in report.HOST_BOUND.items()},
        covered,
        steps,
    )
    busy = load(a.busy) if a.busy.exists() else []
    text = report.page(
        bound=bound,
        left_out=left_out,
        folds=folds,
        by_model=by_model,
        goals=goals,
        steps=steps,
        disturbed=sum(run.disturbed for run in runs),
        live=live_table(DATA / "live.jsonl"),
        busy=[error_of(run, predict_exact(run.inputs, host)) for run in busy],
        host=host,
    )
    a.docs.mkdir(exist_ok=True)
    (a.docs / "fidelity.md").write_text(text)
    plots.total(exact, a.docs / "fidelity-total.svg")
    plots.residuals(exact, a.docs / "fidelity-residuals.svg")
    print(text)
    for name, (_, _, best) in covered.items():
        print(f"best widening of {name}: {best}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
