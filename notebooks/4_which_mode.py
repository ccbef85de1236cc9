# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. Normal or cpr-reboot: when which one wins
#
# Two ways to get a guest past a host update. *Normal*: to another host, running meanwhile, over a wire. *cpr-reboot*: stay, stand still,
# let the host boot. The first costs bytes and may never end; the second costs the time of the boot. This notebook asks a model
# of a real host for both, over a grid of guests.

# %%
from migsim.predict.compare import compare
from migsim.predict.inputs import Inputs
from migsim.viz import draw_compared, draw_downtime_parts

# %%
GIB, MIB = 1 << 30, 1 << 20
guest = Inputs(
    ram_bytes=4 * GIB,
    nonzero_ranges=((0, 600_000),),
    rate_pages_per_s=9_000.0,
    working_set=(0, 60_000),
    max_bandwidth=100 * MIB,
    ram_shared=True,
    time_limit_s=600.0,
)
ways = compare(guest)
draw_compared(ways)

# %% [markdown]
# Each line is one way to migrate the same guest, each bar below its stop. In place, cpr-reboot has next to nothing to save. Where do the
# stops go?

# %%
draw_downtime_parts(ways)

# %% [markdown]
# ## A grid of guests
# The fluid model answers thousands of questions in a second. Here: guests that write faster and faster, over slower and slower wires;
# how long does the move take in mode normal, and where does it never end?

# %%
from dataclasses import replace

import numpy as np

from migsim.predict.fluid import predict_fluid

rates = np.linspace(0, 40_000, 33)
wires = np.array([25, 50, 75, 100, 150, 200, 300, 400, 600]) * MIB
total = np.full((len(wires), len(rates)), np.nan)
for row, wire in enumerate(wires):
    for column, rate in enumerate(rates):
        one = replace(guest, rate_pages_per_s=float(rate), max_bandwidth=int(wire))
        answer = predict_fluid(one)
        total[row, column] = (answer.total_time_ms or np.nan) / 1000

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(9, 4.2))
mesh = axes.pcolormesh(rates, range(len(wires)), total, shading="nearest", cmap="viridis")
axes.set_yticks(range(len(wires)), [f"{wire // MIB}" for wire in wires])
axes.set_xlabel("pages written per second")
axes.set_ylabel("bandwidth, MiB/s")
axes.set_title("mode normal: total time in seconds; white: does not end")
figure.colorbar(mesh)
plt.show()

# %% [markdown]
# The white corner is where cpr-reboot is not a matter of taste: a guest that writes more than the wire carries cannot be moved without being
# throttled or stopped. Left of it, normal wins if a stop of some milliseconds matters more than bytes.
#
# ## What does the stop cost?
# With cpr-reboot the guest stands still for save + boot + load. Only the first and last depend on RAM, and not at all if RAM stays in place.

# %%
reboot_s = 6.0  # a guess; put in your own
for way in ways:
    answer = way.prediction
    if answer.downtime_ms is None:
        print(f"{way.way.label:24} does not end")
        continue
    boots = reboot_s if way.way.label.startswith("cpr-reboot") else 0.0
    print(f"{way.way.label:24} still for {answer.downtime_ms / 1000 + boots:7.3f} s")

# %% [markdown]
# ## Exercises
# **1.** How large may a guest's RAM be, in GiB, for `cpr-reboot, copied` to stop it for less than 5 s besides the boot, if nothing limits the
# bandwidth (`max-bandwidth` 0)?
#
# <details><summary>Solution</summary>
#
# ```python
# def copied_s(gib):
#     pages = gib * GIB // 4096
#     data = ((0, pages * 6 // 10),)
#     one = replace(guest, ram_bytes=gib * GIB, nonzero_ranges=data, max_bandwidth=0)
#     [way] = [w for w in compare(one) if w.way.label == "cpr-reboot, copied"]
#     return way.prediction.downtime_ms / 1000
#
# largest = max(gib for gib in (1, 2, 4, 8, 16, 32, 64) if copied_s(gib) < 5)
# print(largest, "GiB:", round(copied_s(largest), 2), "s")
# assert copied_s(largest) < 5 < copied_s(largest * 4)
# ```
# </details>
#
# **2.** For which wires of the grid does a guest with 20,000 pages/s end in mode normal?
#
# <details><summary>Solution</summary>
#
# ```python
# column = int(np.argmin(abs(rates - 20_000)))
# fine = [int(wire) // MIB for wire, t in zip(wires, total[:, column]) if np.isfinite(t)]
# print(fine, "MiB/s")
# assert fine and 25 not in fine
# ```
# </details>
