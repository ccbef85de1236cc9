"""The page docs/fidelity.md: tables from results."""

from __future__ import annotations

from collections import Counter

from .data import is_host_bound
from .score import BADLY_WRONG, summary, windows

HEAD = (
    "| runs | model | n | total time, median | 90 % | bytes, median | 90 % | passes within 1 |"
    " downtime off, median | 90 % | verdict right | badly wrong |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(label, model, errors):
    s = summary(errors)
    if s is None:
        return f"| {label} | {model} | 0 | | | | | | | | | |"
    return (
        f"| {label} | {model} | {s.n} | {pct(s.total[0])} | {pct(s.total[1])} |"
        f" {pct(s.transferred[0])} | {pct(s.transferred[1])} | {s.passes:.0%} |"
        f" {s.downtime[0]:.0f} ms | {s.downtime[1]:.0f} ms | {s.verdicts:.1%} | {s.badly:.1%} |"
    )


def pct(value):
    return f"{100 * value:.2f} %" if value < 1 else f"{100 * value:.0f} %"


HOST_BOUND = {
    "to a live destination, without limit (scatter 41 %)": lambda run: (
        is_host_bound(run) and run.config["transport"] == "unix"
    ),
    "over a wire that is the limit (scatter 15 %)": lambda run: run.kind == "link",
    "in place, nothing copied (scatter 30 %)": lambda run: run.kind == "cprshared",
    "into a file on a tmpfs, without limit (scatter 5 %)": lambda run: (
        is_host_bound(run) and run.config["transport"] == "file"
    ),
}
"""Runs whose speed the host sets, with how much repeats of one configuration scatter.

The scatter is a standard deviation over the mean, of five repeats on the same machine: of the data
set's own groups of repeats, for files of full-speed saves of the same machine (a median over twelve
kinds of save), as the set has no repeated one."""


def targets(bound, auto, host_bound, covered, steps):
    """Return the table of goals: (what, goal, reached)."""
    s = summary(bound)
    total, exact, _, _ = steps
    lines = [
        ("total time, median", "at most 1.5 %", pct(s.total[0])),
        ("total time, 90th percentile", "at most 5 %", pct(s.total[1])),
        ("bytes, median", "at most 0.5 %", pct(s.transferred[0])),
        ("bytes, 90th percentile", "at most 3 %", pct(s.transferred[1])),
        ("passes equal or one off", "95 %", f"{s.passes:.1%}"),
        ("windows of pass 1 exact", "90 %", f"{exact / max(1, total):.1%} of {total}"),
        ("verdict right", "98 %", f"{s.verdicts:.1%}"),
        ("downtime off, median", "at most 4 ms", f"{s.downtime[0]:.1f} ms"),
        (
            "downtime off by at most max(25 ms, 25 %)",
            "90 % of runs",
            f"{s.downtime_allowed:.1%}",
        ),
        ("auto-converge, total time, median", "at most 5 %", pct(summary(auto).total[0])),
        *(
            (
                f"bound by the host, total time, median: {label}",
                "at most twice the scatter",
                f"{pct(summary(errors).total[0])} of {len(errors)}",
            )
            for label, errors in host_bound.items()
        ),
    ]
    for name, (shipped, fitted, _) in covered.items():
        lines.append(
            (
                f"90 % intervals of {name} hold",
                "85 to 95 %",
                f"{shipped:.1%} as shipped, {fitted:.1%} fitted to other groups",
            )
        )
    return "\n".join(
        ["| goal | wanted | reached |", "|---|---|---|"]
        + [f"| {a} | {b} | {c} |" for a, b, c in lines]
    )


def constants(host, folds):
    """Return the table of fitted constants: shipped value, and least to largest of the folds."""
    lines = ["| constant | shipped | fitted to other groups |", "|---|---|---|"]
    for name in folds[0]:
        scale, unit = (1e6, "us") if name.endswith("page_s") else (1e3, "ms")
        values = [scale * fold[name] for fold in folds]
        shipped = scale * getattr(host, name)
        bounds = f"{min(values):.2f} to {max(values):.2f} {unit}"
        lines.append(f"| `{name}` | {shipped:.2f} {unit} | {bounds} |")
    return "\n".join(lines)


def window_counts(runs):
    """Return (steps, exact ones, runs, runs whose most common step is a window)."""
    seen = [windows(run) for run in runs]
    commons = [common for _, _, common in seen if common is not None]
    return (
        sum(n for n, _, _ in seen),
        sum(exact for _, exact, _ in seen),
        len(commons),
        sum(commons),
    )


def page(*, bound, left_out, folds, by_model, goals, steps, disturbed, live, busy, host):
    """Return the whole page."""
    kinds = sorted({e.run.kind for e in by_model["exact"]})
    tables = [HEAD]
    tables += [row("all", "exact, left out", left_out)]
    tables += [row("all", model, errors) for model, errors in by_model.items()]
    for kind in kinds:
        picked = [e for e in left_out if e.run.kind == kind]
        tables.append(row(kind, "exact, left out", picked))
        for model in ("exact", "fluid"):
            picked = [e for e in by_model[model] if e.run.kind == kind]
            tables.append(row(kind, model, picked))
    worst = sorted(
        (e for e in by_model["exact"] if e.total is not None), key=lambda e: -abs(e.total)
    )[:10]
    passes = Counter(e.passes for e in bound if e.passes is not None)
    return TEMPLATE.format(
        n=len(by_model["exact"]),
        host=host.name,
        sync=1e9 * host.sync_page_s,
        buffer=host.wire_buffer_bytes / 1000,
        goals=goals,
        bound_n=len(bound),
        bound=HEAD + "\n" + row("bound by max-bandwidth, left out", "exact", bound),
        passes=", ".join(f"{k:+d}: {v}" for k, v in sorted(passes.items())),
        constants=constants(host, folds),
        tables="\n".join(tables),
        badly=f"{BADLY_WRONG:.0%}",
        steps=steps[0],
        exact=steps[1],
        step_runs=steps[2],
        common=steps[3],
        disturbed=disturbed,
        worst="\n".join(
            f"| {e.run.config['id']} | {e.run.outcome['total_time']} | {e.prediction.total_time_ms:.0f}"
            f" | {e.total:+.0%} | {'yes' if e.run.disturbed else ''} |"
            for e in worst
        ),
        busy=HEAD + "\n" + row("busy machine, all kinds", "exact", busy),
        live=live,
    )


TEMPLATE = """# Fidelity: predictions against real migrations

Written by `python -m benchmarks.fidelity`; do not edit. {n} migrations of QEMU 10.0.2 under KVM on
a quiet two-core machine (`benchmarks/data/README.md`), predicted from their configuration alone: nothing
that was measured during a run is read. Host constants: {host}.

## Goals

Over the runs bound by `max-bandwidth` (at most 128 MiB/s), by unix socket and file, normal and
cpr-reboot, mapped-ram included ({bound_n} runs), each group predicted with constants fitted to all other groups:

{goals}

{bound}

Passes, predicted minus measured: {passes}.

Windows: of {steps} steps between two changes of the page counter in pass 1 (neighbouring steps that add up to
no more than a window joined, since a 50 ms poll falls inside windows), {exact} are exactly one full window;
in {common} of {step_runs} runs the most common single step is.

## Constants

All models share these costs of the host; beside them only the widths of the intervals are fitted. "Left out" means here and below: for
each group of runs they are fitted anew to all other groups (multiples of the shipped value from 0.35 to 2.8,
by robust errors of total time and downtime), then the group is predicted. The last column shows how much they
depend on the group that is missing. What is not marked "left out" uses the shipped column, which was fitted to
all of these runs. Not fitted: fetching the dirty log ({sync:.1f} ns per page of RAM), the buffer in front of a
slow wire ({buffer:.0f} kB), loading a saved file.

{constants}

## All kinds, all models

Badly wrong: {badly} off in total time, or a wrong verdict. Verdict: whether it ends within the run's
time limit. The baselines know the same inputs.

{tables}

![predicted against measured](fidelity-total.svg)

![residuals](fidelity-residuals.svg)

## Where it is furthest off

Runs are never left out; {disturbed} were disturbed by other work and are marked.

| run | measured ms | predicted ms | off | disturbed |
|---|---|---|---|---|
{worst}

Most of these are unlimited or fast runs to a live destination: its memory comes at under 1 us per page when
the machine has it at hand and at about 15 us when it has not, and nothing known beforehand says which.

## Other data

{busy}

{live}
## Check it

    python -m benchmarks.fidelity              # this page from the stored runs
    python -m benchmarks.fidelity --measure 20 # new runs with the QEMU of this machine, then their errors
    python -m benchmarks.fidelity --live 20    # guests predicted over QMP, then really migrated
"""
