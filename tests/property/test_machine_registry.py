"""The registry against a model that keeps one plain list per mode, as QEMU does."""

from __future__ import annotations

import pytest
import steps
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from migsim.blockers import BlockerRegistry
from migsim.errors import BlockedError, BusyError, OnlyMigratableError
from migsim.qapi.enums import MigMode

TEXTS = st.sampled_from(["vmdk d0", "9p", "dump", "ram0", "ram0"])
MODES = st.sets(st.sampled_from(list(MigMode)), min_size=1)
DEVICES = st.sampled_from(["0000:00:01.0/nvme", "amd-iommu", "usb-mtp"])


class Model:
    """One list per mode, newest first; devices in the order of registration."""

    def __init__(self) -> None:
        self.lists: dict[MigMode, list[tuple[int, str]]] = {mode: [] for mode in MigMode}
        self.devices: list[tuple[int, str]] = []
        self.busy = False
        self.only_migratable = False
        self.serial = 0

    def refusal(self, modes: set[MigMode], internal: bool) -> type[BlockedError] | None:
        if self.only_migratable and not internal and MigMode.NORMAL in modes:
            return OnlyMigratableError
        return BusyError if self.busy else None

    def add(self, reason: str, modes: set[MigMode]) -> int:
        self.serial += 1
        for mode in modes:
            self.lists[mode].insert(0, (self.serial, reason))
        return self.serial

    def remove(self, serial: int) -> None:
        for entries in self.lists.values():
            entries[:] = [entry for entry in entries if entry[0] != serial]
        self.devices = [entry for entry in self.devices if entry[0] != serial]

    def reasons(self, mode: MigMode) -> list[str]:
        listed = [reason for _, reason in self.lists[mode]]
        listed.reverse()
        for _, name in self.devices[::-1]:
            listed.append(f"non-migratable device: {name}")
        return listed


class RegistryMachine(RuleBasedStateMachine):
    handles = Bundle("handles")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.registry = BlockerRegistry(busy=lambda: self.model.busy)
        self.mode = MigMode.NORMAL

    def _add(self, add, reason, modes, internal=False):
        refusal = self.model.refusal(modes, internal)
        if refusal is None:
            return (add(), self.model.add(reason, modes))
        with pytest.raises(refusal) as caught:
            add()
        assert caught.value.reasons[0].endswith(reason)
        return multiple()

    @rule(target=handles, reason=TEXTS)
    def add_everywhere(self, reason):
        return self._add(lambda: self.registry.add(reason), reason, set(MigMode))

    @rule(target=handles, reason=TEXTS)
    def add_normal(self, reason):
        return self._add(lambda: self.registry.add_normal(reason), reason, {MigMode.NORMAL})

    @rule(target=handles, reason=TEXTS, modes=MODES)
    def add_modes(self, reason, modes):
        return self._add(lambda: self.registry.add_modes(reason, modes), reason, modes)

    @rule(target=handles, reason=TEXTS)
    def add_internal(self, reason):
        return self._add(
            lambda: self.registry.add_internal(reason), reason, set(MigMode), internal=True
        )

    @rule(target=handles, name=DEVICES)
    def register_device(self, name):
        if self.model.only_migratable:
            with pytest.raises(OnlyMigratableError):
                self.registry.register_unmigratable(name)
            return multiple()
        self.model.serial += 1
        self.model.devices.append((self.model.serial, name))
        return (self.registry.register_unmigratable(name), self.model.serial)

    @rule(pair=handles)
    def remove(self, pair):
        handle, serial = pair
        # Either call must ignore a handle of the other kind, or one that was removed before.
        self.registry.remove(handle)
        self.registry.unregister(handle)
        self.model.remove(serial)
        assert handle not in self.registry

    @rule(busy=st.booleans())
    def set_busy(self, busy):
        self.model.busy = busy

    @rule(only=st.booleans())
    def set_only_migratable(self, only):
        self.model.only_migratable = only
        self.registry.only_migratable = only

    @rule(mode=st.sampled_from(list(MigMode)))
    def set_mode(self, mode):
        self.mode = mode

    @rule()
    def migrate(self):
        expected = self.model.reasons(self.mode)
        if not expected:
            self.registry.check(self.mode)
            return
        with pytest.raises(BlockedError) as caught:
            self.registry.check(self.mode)
        reasons = caught.value.reasons
        assert len(reasons) == len(expected)
        # Without a device the error is a permutation of the list, with one its wording differs.
        if self.model.devices:
            assert self.model.devices[0][1] in reasons[0]
            assert list(reasons[1:]) == expected[:-1]
            assert caught.value.mode is None
        else:
            assert sorted(reasons) == sorted(expected)
            assert reasons[0] == self.model.lists[self.mode][0][1]

    @invariant()
    def listed_reasons_agree_in_every_mode(self):
        steps.counted(self)
        for mode in MigMode:
            assert list(self.registry.reasons(mode)) == self.model.reasons(mode)

    @invariant()
    def first_error_agrees_in_every_mode(self):
        for mode in MigMode:
            first = self.registry.first_error(mode)
            if self.model.devices:
                assert first is not None
                assert self.model.devices[0][1] in first
            elif self.model.lists[mode]:
                assert first == self.model.lists[mode][0][1]
            else:
                assert first is None


RegistryMachine.TestCase.settings = steps.sized(ci=50, steps=50)
TestRegistryMachine = RegistryMachine.TestCase
