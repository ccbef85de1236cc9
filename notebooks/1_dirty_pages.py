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
# # 1. A guest, its RAM, and what dirtying means
#
# A migration copies the RAM of a guest that goes on writing to it. So everything that follows hangs on one
# question: *which pages has the guest written to since I last looked?* Here is a guest, and a way to look.

# %%
from migsim import VM, BackendKind, BackendSpec, MachineConfig, SequentialSweep, Uniform

MIB = 1 << 20
ram = BackendSpec(BackendKind.RAM, "ram0", 64 * MIB)
writes = Uniform(0, 4095, rate_pages_per_s=2000.0, seed=1)
vm = VM(MachineConfig(memory=ram, workload=writes))
print(vm.hmp("info status"))

# %% [markdown]
# The guest has 64 MiB of RAM, which is 16,384 pages of 4 KiB. Its workload writes to 2,000 pages a second,
# chosen at random among the first 4,096 (16 MiB). No instruction is executed: the *writes* are what a migration
# sees, so the writes are what is simulated. RAM is real, though:

# %%
block = vm.ram["ram0"]
print(block.pages, "pages;", "first bytes of page 0:", bytes(block.view()[0, :8]))
vm.advance(10)
print("10 s later:", bytes(block.view()[0, :8]), "after", vm.guest.writes, "writes")

# %% [markdown]
# Time is *virtual*: ten seconds went by in no time, and the same seed gives the same bytes, always. Each write puts
# its own running number into the first eight bytes of its page.
#
# ## The dirty log
# A hypervisor write-protects pages, or lets the processor set a bit in a table. Either way there is a **log**: one bit
# a page. Somebody fetches it from time to time, which is called a **sync**, and the bits start over.

# %%
from migsim.ram import DirtyBitmap


def written(vm, seconds, every):
    """Return how many distinct pages have been written after each `every` seconds."""
    block, seen, counts = vm.ram["ram0"], DirtyBitmap(vm.ram["ram0"].pages), []
    block.log.start()
    for _ in range(round(seconds / every)):
        vm.advance(every)
        block.log.sync(seen)
        block.log.clear_chunks(0, block.pages - 1)
        counts.append(seen.count())
    block.log.stop()
    return counts


# %%
random_pages = written(vm, seconds=8, every=0.25)
print(random_pages[:8])

# %% [markdown]
# 2,000 writes a second, but after 8 s far fewer than 16,000 pages are dirty: a page that is written twice has to
# be sent once. The curve of **distinct pages over time** bends, and flattens at the **working set**.

# %%
import matplotlib.pyplot as plt

sweep = VM(MachineConfig(memory=ram, workload=SequentialSweep(0, 4095, rate_pages_per_s=2000.0)))
swept_pages = written(sweep, seconds=8, every=0.25)
times = [0.25 * (n + 1) for n in range(32)]
plt.plot(times, random_pages, label="random")
plt.plot(times, swept_pages, label="in order, around and around")
plt.axhline(4096, color="grey", linestyle=":", label="working set")
plt.xlabel("seconds")
plt.ylabel("distinct pages written")
plt.legend()
plt.show()

# %% [markdown]
# Both guests write equally often. The one that goes through memory in order hits a new page each time, until it has been
# everywhere: after two seconds everything is dirty. That is why "pages written per second" says little about a
# migration, and the curve says nearly everything.
#
# ## Where the dirty pages are
# A migration sends pages in order of their addresses, again and again. Recording one shows the race between the
# sender and the guest: yellow is dirty, dark has been sent.

# %%
from migsim import CountingOutput
from migsim.recording import record_migration
from migsim.viz import draw_heat

vm.set_parameters({"max-bandwidth": 16 * MIB})
recording = record_migration(vm, CountingOutput(), every_s=0.02, stretches=64)
draw_heat(recording)

# %% [markdown]
# Three things to see: the first pass goes up through all RAM; the pages above 16 MiB stay dark behind it, as
# nobody writes there; the working set below gets dirty again at once, and each later pass cleans it a little faster than
# the guest dirties it.
#
# ## Exercises
# **1.** A guest writes 500 pages a second at random into 8 MiB. After how many seconds has it written to half of the
# pages? Find out with `written`, then check it against $1 - e^{-rate \cdot t / pages}$.
#
# <details><summary>Solution</summary>
#
# ```python
# import math
#
# guest = Uniform(0, 2047, rate_pages_per_s=500.0, seed=2)
# counts = written(VM(MachineConfig(memory=ram, workload=guest)), seconds=6, every=0.1)
# measured = next(0.1 * (n + 1) for n, count in enumerate(counts) if count >= 1024)
# expected = math.log(2) * 2048 / 500
# print(f"measured {measured:.1f} s, expected {expected:.2f} s")
# assert abs(measured - expected) < 0.3
# ```
# </details>
#
# **2.** Which of the two guests in the picture above needs more bytes to be migrated at 16 MiB/s? Guess first.
#
# <details><summary>Solution</summary>
#
# ```python
# sent = {}
# for name, workload in (
#     ("random", Uniform(0, 4095, rate_pages_per_s=2000.0, seed=1)),
#     ("in order", SequentialSweep(0, 4095, rate_pages_per_s=2000.0)),
# ):
#     guest = VM(MachineConfig(memory=ram, workload=workload))
#     guest.advance(10)
#     guest.set_parameters({"max-bandwidth": 16 * MIB})
#     sent[name] = record_migration(guest).samples[-1].transferred_bytes
#     print(name, sent[name] // MIB, "MiB")
# assert sent["in order"] > sent["random"]
# ```
# </details>
