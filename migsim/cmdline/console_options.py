"""Who is connected: monitors, serial and parallel ports, the debug console, qtest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Final

from ..errors import ConfigError, ParameterError
from .chardev_options import parse_short, resolve_chardevs
from .draft import Draft, Given
from .model import Info
from .options import Kind, Options, parse_options
from .parts import Chardev, DeviceOption, MonitorMode, MonitorOption
from .text import shorten

MUX_LIMIT: Final = 4
"""Users of one multiplexed character device (seen on QEMU 10.0.2)."""
PARALLEL_LIMIT: Final = 3
_MON: Final = {"chardev": Kind.TEXT, "mode": Kind.TEXT, "pretty": Kind.SWITCH}
_MODES: Final = {"monitor": MonitorMode.READLINE, "qmp": MonitorMode.CONTROL}
_NONE: Final = "none"


def take_mon(draft: Draft, text: str) -> None:
    """Keep one ``-mon``."""
    options = parse_options(text, "chardev", _MON)
    if options.help:
        draft.ask(Info("mon"))
        return
    draft.keep(Given("mon", text, options))


class Consoles:
    """Character devices and who uses them, put together from all options.

    Attributes:
        chardevs: all character devices, those of short forms behind the others.
        monitors, serials, parallels: who uses them.
        devices: devices that options other than ``-device`` imply.
        qtest: id of the character device of the test protocol, or None.
    """

    def __init__(self, draft: Draft) -> None:
        self.chardevs: list[Chardev] = resolve_chardevs(draft)
        self.monitors: list[MonitorOption] = []
        self.serials: list[str | None] = []
        self.parallels: list[str | None] = []
        self.devices: list[DeviceOption] = []
        self.qtest: str | None = None
        self._users: Counter[str] = Counter()
        self._made = 0
        for given in draft.all("mon"):
            assert given.options is not None
            self._add_mon(given.options)
        for given in draft.all("monitor", "qmp", "qmp-pretty"):
            self._add_compat_monitor(given)
        self._add_serials(draft)
        for position, given in enumerate(draft.all("parallel")):
            self._add_parallel(given, position)
        for given in draft.all("debugcon"):
            chardev = self._short("debugcon", given.text, "debugcon")
            self.devices.append(
                DeviceOption("isa-debugcon", None, None, {"chardev": chardev}, "-debugcon")
            )
        if text := draft.texts.get("qtest"):
            self.qtest = self._short("qtest", text, "qtest")
        self._check_ids()

    def use(self, identifier: str, what: str) -> None:
        """Count one more user of a character device.

        Raises:
            ConfigError: there is no such device, or it is taken.
        """
        found = next((c for c in self.chardevs if c.id == identifier), None)
        if found is None:
            raise ConfigError(what, f"there is no character device {shorten(identifier)!r}")
        self._users[identifier] += 1
        if self._users[identifier] > (MUX_LIMIT if found.mux else 1):
            raise ConfigError(what, f"character device {identifier} is in use already")

    def _add_mon(self, options: Options) -> None:
        chardev = options.required("chardev", "-mon")
        text = options.get("mode", MonitorMode.READLINE.value)
        if text not in list(MonitorMode):
            raise ParameterError("mode", shorten(str(text)), f"one of {', '.join(MonitorMode)}")
        mode, pretty = MonitorMode(text), options.switch("pretty")
        if pretty and mode is MonitorMode.READLINE:
            raise ConfigError("-mon", "pretty=on belongs to mode=control")
        if options.id is not None and any(m.id == options.id for m in self.monitors):
            raise ConfigError("-mon", f"there are two monitors {options.id}")
        self.use(chardev, "-mon")
        self.monitors.append(MonitorOption(chardev, mode, pretty, options.id))

    def _add_compat_monitor(self, given: Given) -> None:
        name, _, pretty = given.option.partition("-")
        if name == "monitor" and given.text.partition(",")[0] == _NONE:
            return
        identifier = f"compat_monitor{self._made}"
        self._made += 1
        chardev = self._short(name, given.text, identifier)
        self.monitors.append(MonitorOption(chardev, _MODES[name], bool(pretty)))

    def _add_serials(self, draft: Draft) -> None:
        given = [one.text for one in draft.all("serial")]
        defaults = "nodefaults" not in draft.flags and not self.monitors
        if "nographic" in draft.flags and defaults and not given:
            given = ["mon:stdio"]
        for position, text in enumerate(given):
            if text == _NONE:
                self.serials.append(None)
            else:
                self.serials.append(self._short("serial", text, f"serial{position}"))

    def _add_parallel(self, given: Given, position: int) -> None:
        if position >= PARALLEL_LIMIT:
            raise ConfigError("-parallel", f"there are {PARALLEL_LIMIT} parallel ports at most")
        if given.text == _NONE:
            self.parallels.append(None)
            return
        chardev = self._short("parallel", given.text, f"parallel{position}")
        self.parallels.append(chardev)
        self.devices.append(
            DeviceOption("isa-parallel", None, None, {"chardev": chardev}, "-parallel")
        )

    def _short(self, option: str, text: str, identifier: str) -> str:
        """Return the id of the character device that ``text`` names, made if need be."""
        what = f"-{option}"
        if text.startswith("chardev:"):
            chosen = text.removeprefix("chardev:")
            self.use(chosen, what)
            return chosen
        with_monitor = text.startswith("mon:")
        made = parse_short(text.removeprefix("mon:"), identifier, what)
        if with_monitor:
            made = replace(made, properties={**made.properties, "mux": True})
            self.monitors.append(MonitorOption(identifier, MonitorMode.READLINE))
        self.chardevs.append(made)
        self._users[identifier] += 1 + with_monitor
        return identifier

    def _check_ids(self) -> None:
        ids = Counter(chardev.id for chardev in self.chardevs)
        for identifier, count in ids.items():
            if count > 1:
                raise ConfigError("-chardev", f"there are two character devices {identifier}")
        if sum(chardev.backend == "stdio" for chardev in self.chardevs) > 1:
            raise ConfigError("-chardev", "only one character device can be stdio")
