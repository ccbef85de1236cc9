"""Bugs of one line, and tests that have to find them; ``make quality`` plants them all."""

from __future__ import annotations

from typing import Final, NamedTuple

PAIR: Final = "tests/property/test_machine_pair.py"
VM: Final = "tests/property/test_machine_vm.py"
REGISTRY: Final = "tests/property/test_machine_registry.py"
VALUES: Final = "tests/property/test_qapi_parameters.py"
CELLS: Final = "tests/fault/test_fault_cells.py"
JOURNAL: Final = "tests/property/test_ram_journal_rollback.py"
LOG: Final = "tests/property/test_ram_dirtylog_model.py"
SAVES: Final = "tests/property/test_machine_saves.py"
HOST: Final = "tests/property/test_host_machine.py"


class Plant(NamedTuple):
    """One bug: ``old`` stands once in ``file`` of the package and becomes ``new``."""

    name: str
    file: str
    old: str
    new: str
    found_by: str


PLANTS: Final = (
    Plant(
        "a bit not cleared when a page is sent",
        "migration/ram_sender.py",
        "        bitmap.clear_range(first, after)\n",
        "        bitmap.clear_range(first, after - 1)\n",
        PAIR,
    ),
    Plant(
        "the last page of RAM forgotten",
        "migration/ram_sender.py",
        "            bitmap.set_all()\n",
        "            bitmap.set_range(0, max(0, bitmap.pages - 1))\n",
        PAIR,
    ),
    Plant(
        "cpr-reboot stops the guest after the first pass",
        "migration/modes/cpr_reboot.py",
        "return release >= EARLY_STOP_SINCE",
        "return False",
        "tests/unit/migration/test_migration_modes.py",
    ),
    Plant(
        "dirty logging goes on after the end",
        "migration/ram_sender.py",
        "            block.log.stop()\n",
        "            pass\n",
        VM,
    ),
    Plant(
        "a counter not reset",
        "migration/statistics.py",
        "        self.duplicate += work.zero_pages\n",
        "        self.duplicate = work.zero_pages\n",
        VM,
    ),
    Plant(
        "bytes booked in the wrong phase",
        "migration/statistics.py",
        "            self.downtime_bytes += size_bytes",
        "            self.downtime_bytes = size_bytes",
        VM,
    ),
    Plant(
        "a failed migration leaves the guest stopped",
        "migration/source.py",
        "        self.resume_guest()\n        if late:",
        "        if late:",
        PAIR,
    ),
    Plant(
        "a cancelled migration leaves the guest stopped",
        "migration/source.py",
        "        self.resume_guest()\n        self.status.move(MigrationStatus.CANCELLING",
        "        self.status.move(MigrationStatus.CANCELLING",
        VM,
    ),
    Plant(
        "a blocker checked for the wrong mode",
        "machine/migration_commands.py",
        "self.blockers.check(self.parameters.mode)",
        "self.blockers.check(MigMode.CPR_REBOOT)",
        "tests/unit/migration",
    ),
    Plant(
        "a blocker for one mode blocks all",
        "blockers/registry.py",
        "self._blockers if blocker.blocks(mode))",
        "self._blockers)",
        REGISTRY,
    ),
    Plant(
        "reasons in the wrong order",
        "blockers/registry.py",
        "for device in reversed(self._devices)",
        "for device in self._devices",
        REGISTRY,
    ),
    Plant(
        "the oldest reason reported",
        "blockers/registry.py",
        "for blocker in reversed(self._blockers)",
        "for blocker in self._blockers",
        REGISTRY,
    ),
    Plant(
        "a removed device still blocks",
        "blockers/registry.py",
        "            del self._devices[device]\n",
        "            pass\n",
        REGISTRY,
    ),
    Plant(
        "blockers may be added while busy",
        "blockers/registry.py",
        "        if self._busy():",
        "        if False and self._busy():",
        REGISTRY,
    ),
    Plant(
        "a pass that misses what was written",
        "ram/dirtylog.py",
        "        self._pending[:] = self._touched\n        return new",
        "        self._pending[:] = False\n        return new",
        LOG,
    ),
    Plant(
        "a write between report and clear is lost",
        "ram/dirtylog.py",
        "subtract_words(self._log.words[part], self._reported.words[part])",
        "self._log.words[part] = 0",
        LOG,
    ),
    Plant(
        "off by one in the last page of a range",
        "ram/dirtylog.py",
        "            self._log.set_range(lo, hi)\n",
        "            self._log.set_range(lo, hi - 1)\n",
        LOG,
    ),
    Plant(
        "a load that fails leaves what it wrote",
        "ram/journal.py",
        "            view[old] = content\n",
        "            pass\n",
        JOURNAL,
    ),
    Plant(
        "STOP without an event",
        "machine/runstate.py",
        '        self._emit("STOP", {})\n',
        "",
        VM,
    ),
    Plant(
        "a suspended guest wakes up by being stopped",
        "machine/runstate.py",
        "        self.was_suspended = self.state is RunState.SUSPENDED\n",
        "        self.was_suspended = False\n",
        "tests/unit/migration/test_migration_modes.py",
    ),
    Plant(
        "half of the parameters set before one is refused",
        "qapi/parameters.py",
        "            if name in changes and name in known\n",
        "            if name in changes and name in known and name != 'downtime-limit'\n",
        VALUES,
    ),
    Plant(
        "a rule between capabilities not looked at",
        "qapi/capability_rules.py",
        "(self.other in new) is (self.kind is RuleKind.EXCLUDES)",
        "(self.other in new) and (self.kind is RuleKind.EXCLUDES)",
        VALUES,
    ),
    Plant(
        "a range one too wide",
        "qapi/parameter_table.py",
        "MAX_DOWNTIME_MS: Final = 2_000_000",
        "MAX_DOWNTIME_MS: Final = 2_000_001",
        "tests/unit/qapi/test_qapi_parameters.py",
    ),
    Plant(
        "a kexec that spares a tmpfs",
        "host/survival.py",
        "SurvivalRow(RamKind.TMPFS, _KEPT, _LOST, _LOST,",
        "SurvivalRow(RamKind.TMPFS, _KEPT, _KEPT, _LOST,",
        "tests/unit/host",
    ),
    Plant(
        "a second migration while one runs",
        "machine/migration_commands.py",
        "        if self.source.running:\n            hint = \"wait for it",
        "        if False:\n            hint = \"wait for it",
        VM,
    ),
)  # fmt: skip
QUICK: Final = ("a range one too wide", "reasons in the wrong order")
"""Those that are planted in every run."""
