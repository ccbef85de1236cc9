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
# # 6. Testing your own orchestration code
#
# Code that migrates guests is tested against a fake monitor, as a rule: a socket, a greeting, a few canned replies. The fake agrees with
# whatever the code believes. Here is one that does not: a machine with a real state machine behind a real socket, in virtual time, and with
# faults on demand.
#
# This is the code under test, an orchestrator of a dozen lines. It only knows a socket:

# %%
import json
import socket


class Monitor:
    """Just enough of a QMP client; `ask` comes with the next cell."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self.ask("qmp_capabilities")


# %%
def ask(self, command, **arguments):
    """Return a command's answer; events on the way are skipped."""
    names = {name.replace("_", "-"): value for name, value in arguments.items()}
    self.socket.sendall(json.dumps({"execute": command, "arguments": names}).encode() + b"\n")
    while "event" in (message := json.loads(self.lines.readline())):
        pass
    if "error" in message:
        raise RuntimeError(message["error"]["desc"])
    return message["return"]


Monitor.ask = ask


# %%
def save(monitor, path, polls=10_000):
    """Save a guest to a file; return how that ended. The orchestrator under test."""
    monitor.ask("migrate", uri=f"file:{path}")
    for _ in range(polls):
        status = monitor.ask("query-migrate").get("status")
        if status in ("completed", "failed"):
            return status
    raise TimeoutError("the guest was not saved")


# %% [markdown]
# ## A machine to try it on
# `serving` runs machines in a thread of this process. Each takes QEMU's options and has a socket of its own. Time is virtual: minutes pass in
# milliseconds, and nothing sleeps.

# %%
import tempfile
from pathlib import Path

from migsim.testing import serving

folder = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))
with serving(folder) as host:
    machine = host.start("-machine", "none", "-m", "64M")
    print(save(Monitor(machine.path), folder / "state"))
    print("the guest:", machine.look(lambda vm: vm.query_status()))

# %% [markdown]
# As a fixture, this replaces a home-made fake in five lines; pytest finds `migsim_machine` by itself once migsim is installed:
#
# ```
# def test_a_guest_is_saved(migsim_machine, tmp_path):
#     monitor = Monitor(migsim_machine.path)
#     assert save(monitor, tmp_path / "state") == "completed"
#     assert (tmp_path / "state").stat().st_size > 0
#     assert monitor.ask("query-status")["status"] == "postmigrate"
# ```
#
# ## What the fake never tells you
# What does the orchestrator do when the disk is full? The machine behaves as QEMU does: the migration fails, the guest goes on.

# %%
from migsim.testing import ConnectionReset, DiskFull, DroppedEvent

with serving(folder) as host:
    machine = host.start("-machine", "none", "-m", "64M", faults=[DiskFull(size_bytes=4096)])
    print(save(Monitor(machine.path), folder / "full"))
    print("the guest:", machine.look(lambda vm: vm.query_status()))

# %% [markdown]
# And when the monitor disconnects in the middle? Ours has no answer to that, and now we know:

# %%
with serving(folder) as host:
    machine = host.start("-machine", "none", "-m", "64M", faults=[ConnectionReset(after=2)])
    try:
        print(save(Monitor(machine.path), folder / "reset"))
    except (json.JSONDecodeError, OSError) as error:
        print("the orchestrator broke:", type(error).__name__)

# %% [markdown]
# ## A picture of what it did
# The counters that an orchestrator polls, seen from outside: a live migration between two machines at 4 MiB/s, watched over the same socket.

# %%
from migsim import VM, BackendKind, BackendSpec, MachineConfig, Uniform
from migsim.recording import record_migration
from migsim.viz import draw_migration

memory = BackendSpec(BackendKind.PHANTOM, "ram0", 256 << 20)
vm = VM(MachineConfig(memory=memory, workload=Uniform(0, 16383, rate_pages_per_s=900.0, seed=1)))
vm.advance(60)
vm.set_parameters({"max-bandwidth": 4 << 20})
draw_migration(record_migration(vm, every_s=0.5))

# %% [markdown]
# ## Exercises
# **1.** Make `save` survive a connection that is reset once: connect again and go on polling.
#
# <details><summary>Solution</summary>
#
# ```python
# def patient_save(path, target):
#     monitor = Monitor(path)
#     monitor.ask("migrate", uri=f"file:{target}")
#     while True:
#         try:
#             status = monitor.ask("query-migrate").get("status")
#         except (json.JSONDecodeError, OSError):
#             monitor = Monitor(path)
#             continue
#         if status in ("completed", "failed"):
#             return status
#
# with serving(folder) as host:
#     machine = host.start("-machine", "none", "-m", "64M", faults=[ConnectionReset(after=2)])
#     ended = patient_save(machine.path, folder / "again")
# print(ended)
# assert ended == "completed"
# ```
# </details>
#
# **2.** A colleague waits for the event `STOP` instead of polling. Show with `DroppedEvent` why that hangs.
#
# <details><summary>Solution</summary>
#
# ```python
# def heard(faults):
#     with serving(folder) as host:
#         machine = host.start("-machine", "none", "-m", "16M", faults=faults)
#         monitor = Monitor(machine.path)
#         monitor.socket.settimeout(0.5)
#         names = []
#         monitor.socket.sendall(b'{"execute": "stop"}\n')
#         try:
#             while True:
#                 names.append(json.loads(monitor.lines.readline()).get("event"))
#         except (TimeoutError, OSError):
#             return names
#
# print(heard([]), heard([DroppedEvent(name="STOP")]))
# assert "STOP" in heard([]) and "STOP" not in heard([DroppedEvent(name="STOP")])
# ```
# </details>
