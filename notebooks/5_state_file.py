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
# # 5. Inside a state file, byte by byte
#
# `migrate file:vm.state` writes a *migration stream*: the same bytes that a socket would carry. Here is a small one, taken apart by hand
# first and by the reader afterwards.

# %%
import struct
import tempfile
from pathlib import Path

from migsim import VM, BackendKind, BackendSpec, MachineConfig

ram = BackendSpec(BackendKind.RAM, "ram0", 1 << 20)
vm = VM(MachineConfig(memory=ram))
vm.ram["ram0"].view()[3, :5] = list(b"hello")
path = Path(tempfile.mkdtemp()) / "vm.state"
vm.save(f"file:{path}")
data = path.read_bytes()
print(len(data), "bytes; the first 32:", data[:32])

# %% [markdown]
# ## The header
# Four letters and a version, big endian like all that follows. Then sections, each begun by one byte. `0x07` is the configuration: the
# name of the machine type, so that a stream of a `pc` is not loaded into a `q35`.

# %%
magic, version = struct.unpack(">4sI", data[:8])
kind, length = struct.unpack(">BI", data[8:13])
print(magic, version, hex(kind), data[13 : 13 + length])

# %% [markdown]
# ## A page
# RAM comes in records of eight bytes and a page. The eight bytes are the address, and flags in the bits that a page address does not
# need: `0x08` a page follows, `0x02` the page is zero (one byte follows), `0x20` same block as before.

# %%
at = data.index(b"hello")
[word] = struct.unpack(">Q", data[at - 8 : at])
print(f"page record at offset {at - 8:#x}: address {word & ~0xFFF:#x}, flags {word & 0xFFF:#x}")

# %% [markdown]
# ## The whole file
# The reader knows all of it. First the list, then the picture: RAM is a kilobyte here, because 255 of 256 pages are zero.

# %%
from migsim.streamtool import StreamFiles, stream_info

info = stream_info(StreamFiles(str(path)))
for section in info.sections:
    print(f"{section.offset:6} {section.size_bytes:6}  {section.name}")
for block in info.blocks:
    print(f"{block.name}: {block.content_pages} pages with content, {block.zero_pages} zero")

# %%
from migsim.viz import draw_stream

draw_stream(info)

# %% [markdown]
# ## Damage
# One flipped bit, and a check says where, what it expected, and what is whole before it. This is what `migsim stream check` prints.

# %%
from migsim.streamtool import check_stream

broken = path.with_name("broken.state")
flipped = bytearray(data)
flipped[6510] ^= 0x40
broken.write_bytes(flipped)
report = check_stream(StreamFiles(str(broken)))
print(report.verdict, "-", report.reason)
print(report.fault)

# %% [markdown]
# ## Exercises
# **1.** How many bytes does a zero page cost? Save the machine again with one more page that is not zero, and compare.
#
# <details><summary>Solution</summary>
#
# ```python
# vm = VM(MachineConfig(memory=ram))
# vm.ram["ram0"].view()[3:5, :5] = list(b"hello")
# other = path.with_name("other.state")
# vm.save(f"file:{other}")
# grown = other.stat().st_size - len(data)
# print(grown, "bytes more: 4096 + 8 instead of", 4096 + 8 - grown)
# assert 4096 + 8 - grown == 9
# ```
# </details>
#
# **2.** Load the file into a new machine, and find your word in its RAM.
#
# <details><summary>Solution</summary>
#
# ```python
# target = VM(MachineConfig(memory=ram, incoming="defer"))
# target.load(f"file:{path}")
# print(bytes(target.ram["ram0"].view()[3, :5]))
# assert bytes(target.ram["ram0"].view()[3, :5]) == b"hello"
# ```
# </details>
