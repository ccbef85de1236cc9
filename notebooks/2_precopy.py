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
# # 2. Precopy: passes, convergence, and why 30 ms never ends
#
# Mode `normal` copies RAM while the guest runs (*precopy*). What the guest dirties meanwhile is copied again, and again,
# until the rest is small enough to be sent while the guest stands still. This notebook is about *small enough*.

# %%
from migsim import VM, BackendKind, BackendSpec, MachineConfig, Uniform
from migsim.recording import record_migration
from migsim.viz import draw_migration

MIB = 1 << 20


# %%
def guest(rate, working_set_mib=256, ram_mib=1024, seed=1):
    """Return a guest that has been writing for a while; its RAM is bitmaps without bytes."""
    memory = BackendSpec(BackendKind.PHANTOM, "ram0", ram_mib * MIB)
    pages = working_set_mib * MIB // 4096
    work = Uniform(0, pages - 1, rate_pages_per_s=float(rate), seed=seed)
    vm = VM(MachineConfig(memory=memory, workload=work))
    vm.ram["ram0"].backend.nonzero.set_range(0, ram_mib * MIB // 4096 // 2)
    vm.advance(5)
    return vm


# %%
vm = guest(rate=12_000)
vm.qmp("migrate-set-parameters", max_bandwidth=64 * MIB)
recording = record_migration(vm)
draw_migration(recording)

# %% [markdown]
# Half of RAM holds data, the other half is zero pages, which cost nine bytes each: that is the steep end of pass 1. Each
# stripe is a **pass**. A pass takes as long as the one before it dirtied pages, so passes shrink by the ratio of
# dirtying to sending. The guest stops when what is left fits into `downtime-limit`.

# %%
for one in recording.passes():
    print(f"{one.name:8} {one.seconds:6.2f} s")
stop = recording.stop()
print(f"the guest stood still for {stop.seconds * 1000:.0f} ms; the limit was 300 ms")

# %% [markdown]
# ## Will it finish?
# Sending runs at 64 MiB/s here, 16,384 pages. A guest that dirties *distinct* pages faster than that is never caught
# up with, whatever the limit. Watch what is left to send for guests that are busier and busier:

# %%
import matplotlib.pyplot as plt

for rate in (8_000, 16_000, 32_000, 64_000):
    vm = guest(rate)
    vm.qmp("migrate-set-parameters", max_bandwidth=64 * MIB)
    seen = record_migration(vm, limit_s=40).samples
    times, left = zip(*((one.time_s, one.remaining_bytes / MIB) for one in seen if one.passes))
    plt.plot(times, left, label=f"{rate:,} pages/s: {seen[-1].status}")
plt.xlabel("seconds")
plt.ylabel("MiB left to send")
plt.legend()
plt.show()

# %% [markdown]
# The busiest guests settle on a plateau: each pass leaves as much as it found. That is a working set being sent for ever.
#
# ## Why 30 ms never ends
# `downtime-limit` is 300 ms by default. People who read "downtime" lower it to 30 ms, and find that migrations stop completing.
# Take a guest that writes a little faster than 64 MiB/s can carry: 17,000 pages a second against 16,384. Some pages it writes
# twice within a pass, and those are sent once. So the rest does not grow for ever; it settles at a few thousand pages.

# %%
for limit in (300, 100, 60, 30):
    vm = guest(rate=17_000)
    vm.qmp("migrate-set-parameters", max_bandwidth=64 * MIB, downtime_limit=limit)
    seen = record_migration(vm, limit_s=60, every_s=0.5)
    last = seen.samples[-1]
    print(f"limit {limit:3} ms: {seen.status:9} after {seen.end_s:5.1f} s, {last.passes:3} passes")

# %% [markdown]
# 300 ms at 64 MiB/s is room for 4,915 pages, and the rest gets that small. 30 ms is room for 491, and it never does: the migration
# goes on until somebody loses patience. Nothing is broken, and nothing in the counters says "never".
#
# The limit is compared with an *estimate*, by the way: dirty bytes over the rate measured lately. The last pages then leave
# without any rate limit, so that the real stop is often far below it:

# %%
vm = guest(rate=17_000)
vm.qmp("migrate-set-parameters", max_bandwidth=64 * MIB)
print(f"{record_migration(vm).stop().seconds * 1000:.0f} ms, with a limit of 300 ms")

# %% [markdown]
# ## Let the guest wait: auto-converge
# Capability `auto-converge` takes time from the guest's processors, 20 % at first and 10 % more each time that a pass brought too
# little, up to 99 %. The red area is the throttle. The migration ends, and the guest pays.

# %%
vm = guest(rate=40_000)
vm.qmp("migrate-set-parameters", max_bandwidth=64 * MIB)
vm.qmp("migrate-set-capabilities", capabilities=[{"capability": "auto-converge", "state": True}])
draw_migration(record_migration(vm, limit_s=300))

# %% [markdown]
# ## Exercises
# **1.** Find the lowest `max-bandwidth`, in whole MiB/s, at which the guest with 12,000 pages/s completes within 60 s.
#
# <details><summary>Solution</summary>
#
# ```python
# def ends(bandwidth_mib):
#     vm = guest(rate=12_000)
#     vm.qmp("migrate-set-parameters", max_bandwidth=bandwidth_mib * MIB)
#     return record_migration(vm, limit_s=60, every_s=1.0).status == "completed"
#
# low, high = 1, 128
# while high - low > 1:
#     middle = (low + high) // 2
#     low, high = (low, middle) if ends(middle) else (middle, high)
# print(f"{high} MiB/s")
# assert ends(high) and not ends(low)
# ```
# </details>
#
# **2.** A policy: begin with a limit of 30 ms, and double it whenever a pass has not made the rest smaller. Does the guest with
# 17,000 pages/s end, and at which limit? (`during=` of `record_migration` is called after each look.)
#
# <details><summary>Solution</summary>
#
# ```python
# rests = {}
#
# def double(vm, passed):
#     ram = vm.query_migrate().get("ram", {})
#     number, rest = ram.get("dirty-sync-count", 0), ram.get("remaining", 0)
#     if number in rests or not number:
#         return
#     rests[number] = rest
#     if number > 2 and rest >= rests.get(number - 1, rest):
#         limit = int(vm.parameters.get("downtime-limit"))
#         vm.qmp("migrate-set-parameters", downtime_limit=min(2 * limit, 2000))
#
# vm = guest(rate=17_000)
# vm.qmp("migrate-set-parameters", max_bandwidth=64 * MIB, downtime_limit=30)
# seen = record_migration(vm, during=double, limit_s=300)
# print(seen.status, "at a limit of", vm.parameters.get("downtime-limit"), "ms")
# assert seen.status == "completed"
# ```
# </details>
