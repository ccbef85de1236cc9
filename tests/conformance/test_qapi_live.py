"""The same requests to migsim's tables and to a real QEMU 10.0: both say yes, or both no."""

from __future__ import annotations

import json
import random
import re
import shutil
import socket
import subprocess
import time

import pytest

from migsim.errors import ParameterError
from migsim.qapi.capabilities import CapabilitySet, capabilities_of
from migsim.qapi.capability_rules import CapabilityContext
from migsim.qapi.parameters import MigrationParameters
from migsim.qapi.properties import property_names

PROGRAM = "qemu-system-x86_64"
pytestmark = pytest.mark.live

VALUES = [-1, 0, 1, 2, 9, 10, 20, 21, 50, 98, 99, 100, 101, 255, 256, 1000, 1001, 4096, 5000]
VALUES += [10000, 10001, 100000, 100001, 2000000, 2000001, 1 << 31, (1 << 32) - 1, 1 << 32]
VALUES += [1 << 63, (1 << 64) - 1, 1 << 64, -(1 << 63), -(1 << 63) - 1, 1.5, True, False, None]
VALUES += [
    "",
    "x",
    "none",
    "zlib",
    "zstd",
    "normal",
    "cpr-reboot",
    "cpr-transfer",
    "legacy",
    [],
    {},
]
TEXTS = [
    "0",
    "1",
    "07",
    "08",
    "0x1f",
    "1k",
    "1.5k",
    "1.5",
    "1.0",
    "2.0b",
    "+3",
    "-3",
    "-0",
    ".5",
    ".5k",
    "1.",
    "0.9999999",
    "1e2",
    "1E",
    "8E",
    "16E",
    "0x",
    "1b",
]
TEXTS += [
    "8796093022207",
    "8796093022208",
    "18446744073709551615",
    "18446744073709551616",
    "99",
    "100",
    "255",
]
TEXTS += [
    "256",
    "on",
    "off",
    "yes",
    "n",
    "ON",
    "none",
    "zlib",
    "normal",
    "cpr-reboot",
    "legacy",
    "4294967296",
    "65536",
    "1kk",
    "1_0",
]


class Monitor:
    """One QMP connection to a stopped guest without devices."""

    def __init__(self, directory):
        path = directory / "qmp"
        arguments = ["-nodefaults", "-no-user-config", "-display", "none", "-S", "-m", "32"]
        arguments += ["-accel", "tcg", "-qmp", f"unix:{path},server=on,wait=off"]
        self.process = subprocess.Popen([PROGRAM, *arguments], stderr=subprocess.DEVNULL)
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(1000):
            try:
                self.socket.connect(str(path))
                break
            except OSError:
                time.sleep(0.01)
        self.file = self.socket.makefile("rwb")
        version = json.loads(self.file.readline())["QMP"]["version"]["qemu"]
        self.version = (version["major"], version["minor"])
        self("qmp_capabilities", {})

    def __call__(self, command, arguments):
        """Return the reply to ``command``, skipping events."""
        request = {"execute": command, "arguments": arguments}
        self.file.write(json.dumps(request).encode())
        self.file.flush()
        while True:
            reply = json.loads(self.file.readline())
            if "event" not in reply:
                return reply

    def human(self, line):
        """Return what the human monitor prints."""
        reply = self("human-monitor-command", {"command-line": line})
        return reply["return"].replace("\r", "")

    def close(self):
        self.file.close()
        self.socket.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def qemu(tmp_path):
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"no {PROGRAM} on this machine")
    monitor = Monitor(tmp_path)
    if monitor.version != (10, 0):
        monitor.close()
        pytest.skip(f"QEMU {monitor.version} is not the release compared with")
    yield monitor
    monitor.close()


def test_defaults_and_names(qemu):
    parameters = MigrationParameters()
    assert qemu("query-migrate-parameters", {})["return"] == parameters.query()
    assert qemu.human("info migrate_parameters").splitlines() == parameters.hmp_lines()
    assert qemu("query-migrate-capabilities", {})["return"] == CapabilitySet().query()
    assert qemu.human("info migrate_capabilities").splitlines() == CapabilitySet().hmp_lines()
    listed = qemu("device-list-properties", {"typename": "migration"})["return"]
    assert sorted(row["name"] for row in listed) == list(property_names())


@pytest.mark.parametrize("seed", range(4))
def test_same_answers_to_the_same_requests(qemu, seed):
    dice = random.Random(seed)
    parameters, capabilities = MigrationParameters(), CapabilitySet()
    names = [row.name for row in parameters.rows()]
    for _ in range(600):
        kind = dice.choice(["qmp", "qmp", "human", "human", "capabilities"])
        mine = None
        if kind == "capabilities":
            changes = [(dice.choice(capabilities_of()), dice.random() < 0.4) for _ in range(4)]
            request = [{"capability": name, "state": state} for name, state in changes]
            reply = qemu("migrate-set-capabilities", {"capabilities": request})
        elif kind == "qmp":
            changes = {dice.choice(names): dice.choice(VALUES) for _ in range(dice.randint(1, 3))}
            reply = qemu("migrate-set-parameters", changes)
        else:
            changes = dice.choice(names), dice.choice(TEXTS)
            printed = qemu.human("migrate_set_parameter {} {}".format(*changes)).strip()
            reply = {"error": {"desc": printed}} if printed else {}
        refused = reply.get("error", {}).get("desc")
        try:
            if kind == "capabilities":
                context = CapabilityContext(parameters=parameters)
                capabilities = capabilities.updated(changes, context)
            else:
                if kind == "human":
                    changes = {changes[0]: parameters.parse_hmp(*changes)}
                parameters = parameters.updated(changes, capabilities=capabilities)
        except ParameterError as error:
            mine = re.sub(r"\[.*", "", error.name)
        assert (mine is None) == (refused is None), (changes, mine, refused)
        if kind == "qmp" and mine is not None and "only available" not in refused:
            assert mine.replace("-", "_") in refused.replace("-", "_"), changes
        assert qemu("query-migrate-parameters", {})["return"] == parameters.query(), changes
        assert qemu("query-migrate-capabilities", {})["return"] == capabilities.query(), changes
