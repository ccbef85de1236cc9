"""``migsim blockers`` and ``migsim doctor`` as a user types them."""

from __future__ import annotations

import json

import pytest

from migsim.__main__ import main
from migsim.blockers import ROWS, blocking
from migsim.cli import doctor
from migsim.qapi.enums import MigMode

VMDK = ["-machine", "none", "-blockdev", "driver=vmdk,node-name=d,file.driver=null-co"]
AUX = ["-machine", "none", "-blockdev", "driver=vmdk,node-name=\x1b[2J,file.driver=null-co"]


def run(capsys, *words):
    status = main(["blockers", *words])
    return status, capsys.readouterr().out


def test_a_blocker_is_told_with_what_lifts_it(capsys):
    status, out = run(capsys, "--", *VMDK)
    assert status == 1
    assert "vmdk image 'd' forbids normal" in out
    assert ROWS["vmdk"].lift in out
    assert "1 blocker of migration in 10.0; free modes: cpr-reboot, cpr-transfer." in out


def test_only_the_mode_that_is_asked_for_counts(capsys):
    status, out = run(capsys, "--mode", "cpr-reboot", "--", *VMDK)
    assert status == 0
    assert "Nothing on this command line forbids mode cpr-reboot" in out


def test_json_has_the_fields_of_the_row(capsys):
    status, out = run(capsys, "--json", "--", *VMDK)
    answer = json.loads(out)
    assert status == 1
    [one] = answer["blockers"]
    assert (one["feature"], one["name"], one["modes"]) == ("vmdk", "d", ["normal"])
    assert answer["free-modes"] == ["cpr-reboot", "cpr-transfer"]


def test_the_catalogue(capsys):
    status, out = run(capsys, "--all", "--json", "--mode", "cpr-reboot")
    assert status == 0
    assert [row["feature"] for row in json.loads(out)] == list(blocking(MigMode.CPR_REBOOT))


def test_things_of_one_kind_are_told_together(capsys):
    status, out = run(capsys, "--mode", "cpr-transfer", "--", "-machine", "pc", "-m", "64M")
    assert status == 1
    assert out.count("RAM block that cannot be handed over in place") == 1
    assert "'pc.ram', 'pc.bios'" in out


@pytest.mark.parametrize("words", [["--mode", "cpr-exec"], ["--mode", "x"], ["--release", "1.0"]])
def test_wrong_use_is_refused(capsys, words):
    assert main(["blockers", *words]) == 2
    assert capsys.readouterr().err.startswith("migsim: ")


def test_names_cannot_steer_the_terminal(capsys):
    _, out = run(capsys, "--", *AUX)
    assert "\x1b" not in out


def test_doctor_names_every_extra(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert all(f"extra {name}:" in out for name in ("cli", "viz", "compress", "qemu", "testing"))


def test_doctor_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setitem(doctor.EXTRA_MODULES, "viz", ("no_such_module",))
    assert main(["doctor", "--json"]) == 0
    facts = {fact["subject"]: fact for fact in json.loads(capsys.readouterr().out)}
    assert not facts["QEMU"]["fine"]
    assert facts["QEMU"]["advice"]
    assert "viz" in facts["extra viz"]["advice"]
    assert facts["numpy"]["fine"]


def test_doctor_with_a_qemu_that_does_not_run(monkeypatch, tmp_path):
    fake = tmp_path / "qemu-system-x86_64"
    fake.write_text("#!/bin/sh\necho QEMU emulator version 9.1.0\n")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: str(fake))
    [fact] = [fact for fact in doctor.survey() if fact.subject == "QEMU"]
    assert not fact.fine
    fake.chmod(0o755)
    [fact] = [fact for fact in doctor.survey() if fact.subject == "QEMU"]
    assert fact.fine
    assert "10.0" in fact.advice
