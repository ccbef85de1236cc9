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
# # 3. Live update: cpr-reboot step by step
#
# A host needs a new kernel, and its guests must not notice more than a pause. Mode `cpr-reboot` (checkpoint and restart) saves
# a guest, lets the host boot another kernel, and resumes it. RAM can stay where it is, if it lies in something that
# outlives the reboot. Here is a simulated host, with real files:

# %%
import tempfile
from pathlib import Path

from migsim import VM, BackendKind, BackendSpec, Host, MachineConfig, RunState, Uniform
from migsim import VirtualClock

# %%
MIB = 1 << 20
clock = VirtualClock()
host = Host(Path(tempfile.mkdtemp()), clock)
ram = host.path("pkram", "ram0")
memory = BackendSpec(BackendKind.FILE, "ram0", 32 * MIB, mem_path=str(ram), share=True)
guest = Uniform(0, 8191, rate_pages_per_s=5000.0, seed=1)
vm = VM(MachineConfig(memory=memory, workload=guest), clock=clock)
host.attach(vm, "qemu", [block.backend for block in vm.ram])
vm.advance(2)
print(vm.hmp("info status"), vm.guest.writes, "writes so far")

# %% [markdown]
# `pkram` stands for a tmpfs whose pages the old kernel hands to the new one. Now the three commands of the live update, as one
# would type them into QEMU's monitor:

# %%
state = host.path("disk", "vm.state")
for line in (
    "migrate_set_capability x-ignore-shared on",
    "migrate_set_parameter mode cpr-reboot",
    f"migrate -d file:{state}",
):
    print("(qemu)", line.replace(str(state), "vm.state"), vm.hmp(line))
vm.run_until(lambda: not vm.source.running, 60)
print(vm.hmp("info status"), state.stat().st_size, "bytes of state")

# %% [markdown]
# The state of a 32 MiB guest fits into a kilobyte: `x-ignore-shared` left RAM where it was. In this mode the guest is stopped
# *first*, then saved, so there is one pass, nothing to converge, and nothing that can run for ever. The process quits,
# and the host reboots.

# %%
writes = vm.guest.writes
host.quit(vm)
host.kexec()
clock.sleep(6.0)
print("kernel number", host.boots, "- kept:", ram.exists(), state.exists(), "- lost:", host.lost)

# %%
memory = BackendSpec(BackendKind.FILE, "ram0", 32 * MIB, mem_path=str(ram), share=True)
guest = Uniform(0, 8191, rate_pages_per_s=5000.0, seed=1)
vm = VM(MachineConfig(memory=memory, workload=guest, incoming="defer"), clock=clock)
vm.hmp("migrate_set_capability x-ignore-shared on")
vm.hmp("migrate_set_parameter mode cpr-reboot")
vm.hmp(f"migrate_incoming file:{state}")
vm.run_until(lambda: vm.run.state is not RunState.INMIGRATE, 60)
print(vm.hmp("info status"), vm.guest.writes - writes, "writes lost or done twice")

# %% [markdown]
# ## What survives what
# Nothing in QEMU checks that RAM outlives the reboot; put it in the wrong place and it is gone. The table that the simulated host
# goes by:

# %%
from migsim.host.survival import SURVIVAL

print(f"{'RAM in':12} {'process quits':16} {'kexec':16} power loss")
for row in SURVIVAL:
    print(f"{row.kind:12} {row.quit:16} {row.kexec:16} {row.power_loss}")

# %% [markdown]
# ## Blockers depend on the mode
# A vmdk image in use forbids a normal migration: two processes would have it open. cpr-reboot has one process at a time, so the October
# 2023 patches let that blocker stand for mode normal alone. All that blocks some modes and not others:

# %%
from migsim.viz import draw_blockers

draw_blockers()

# %% [markdown]
# Ask before you start: a dry run tells what on a command line is in the way, in which mode, and what would lift it.

# %%
from migsim.cmdline.dryrun import dry_run

words = ["-m", "1G", "-blockdev", "driver=vmdk,node-name=disk0,file.driver=null-co"]
for one in dry_run(words).found[:1]:
    print(one.row.title, "forbids", [mode.value for mode in one.modes])
    print("to lift it:", one.row.lift)

# %% [markdown]
# ## The same, with a picture
# `migsim demo cpr-reboot` walks this way with a transcript; here it is as a picture, beside the same guest saved in other ways.

# %%
from migsim.demo import Scenario, walk_cpr_reboot
from migsim.viz import draw_walkthrough

walk = walk_cpr_reboot(Path(tempfile.mkdtemp()), Scenario(ram_bytes=32 * MIB))
draw_walkthrough(walk)

# %% [markdown]
# ## Exercises
# **1.** Walk again with RAM in plain `tmpfs`. What does the picture say, and what do the checks?
#
# <details><summary>Solution</summary>
#
# ```python
# from migsim import RamKind
#
# lost = walk_cpr_reboot(Path(tempfile.mkdtemp()), Scenario(32 * MIB, ram_kind=RamKind.TMPFS))
# for check in lost.checks:
#     print("equal " if check.passed else "LOST  ", check.what)
# print(lost.losses)
# assert not lost.ok and lost.losses
# ```
# </details>
#
# **2.** Which features block cpr-reboot in 8.2 but not in 10.0?
#
# <details><summary>Solution</summary>
#
# ```python
# from migsim import MigMode, Release
# from migsim.blockers import blocking
#
# mode = MigMode.CPR_REBOOT
# gone = set(blocking(mode, Release.parse("8.2"))) - set(blocking(mode, Release.parse("10.0")))
# print(sorted(gone))
# assert gone == {"vfio", "vfio-multiple"}
# ```
# </details>
