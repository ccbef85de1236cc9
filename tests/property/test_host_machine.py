"""Files of a host against plain dictionaries, over any order of writes and reboots."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from migsim.host import MOUNTS, SURVIVES, Fate, Host, HostEvent

FILES = st.tuples(st.sampled_from(sorted(MOUNTS)), st.sampled_from(["a", "b"]))
DATA = st.binary(max_size=8)


class HostMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = tempfile.mkdtemp(prefix="migsim-host-")
        self.host = Host(Path(self.root, "host"))
        self.files: dict[tuple[str, str], bytes] = {}
        self.synced: dict[tuple[str, str], bytes] = {}

    def teardown(self) -> None:
        self.host.close()
        shutil.rmtree(self.root)

    @rule(file=FILES, data=DATA)
    def write(self, file, data):
        self.host.path(*file).write_bytes(data)
        self.files[file] = data

    @rule(file=FILES)
    def delete(self, file):
        self.host.path(*file).unlink(missing_ok=True)
        self.files.pop(file, None)

    @rule()
    def sync(self):
        self.host.sync()
        self.synced = dict(self.files)

    @rule(event=st.sampled_from([HostEvent.KEXEC, HostEvent.POWER_LOSS]))
    def reboot(self, event):
        losses = self.host.kexec() if event is HostEvent.KEXEC else self.host.power_loss()
        expected = set()
        for file, data in list(self.files.items()):
            fate = SURVIVES[MOUNTS[file[0]], event]
            if fate is Fate.KEPT or (fate is Fate.IF_SYNCED and self.synced.get(file) == data):
                continue
            expected.add(str(self.host.path(*file)))
            if file[0] == "dax":
                self.files[file] = bytes(len(data))
            elif fate is Fate.IF_SYNCED and file in self.synced:
                self.files[file] = bytes(len(self.synced[file]))
            else:
                del self.files[file]
        self.synced = dict(self.files)
        assert {loss.what for loss in losses} == expected
        assert len(losses) == len(expected)

    @invariant()
    def files_agree(self):
        found = {
            (mount, path.name): path.read_bytes()
            for mount in MOUNTS
            for path in self.host.path(mount).iterdir()
        }
        assert found == self.files


TestHostMachine = HostMachine.TestCase
