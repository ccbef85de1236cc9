"""Words, the table of options, warnings, refusals, and texts in place of machines."""

from __future__ import annotations

import re

import pytest
from cmdlines import cmdline

from migsim.cmdline.parse import _HANDLERS, parse
from migsim.cmdline.table import OPTIONS, Handling, find_option
from migsim.cmdline.texts import info_text
from migsim.cmdline.words import split_words
from migsim.errors import ConfigError
from migsim.qapi.release import Release


def test_one_dash_or_two_and_words_without():
    words = split_words(["-m", "16M", "--S", "disk.img", "-drive", "-S"])
    assert [(w.name, w.argument) for w in words] == [
        ("m", "16M"),
        ("S", None),
        ("hda", "disk.img"),
        ("drive", "-S"),
    ]


def test_an_argument_is_missing():
    with pytest.raises(ConfigError, match="-m: its argument is missing"):
        split_words(["-S", "-m"])


@pytest.mark.parametrize("word", ["-nosuch", "---S", "-", "--", "-s16", "-M=none", "-no-acpi"])
def test_unknown_options(word):
    with pytest.raises(ConfigError, match="no such option"):
        split_words([word])


def test_near_names_are_suggested():
    with pytest.raises(ConfigError, match="-machine"):
        find_option("-machin")


def test_options_of_the_caller_come_back_in_order():
    own = {"virtual-time": False, "release": True}
    line = parse(["--virtual-time", "-S", "-release", "11.1", "-machine", "none"], own=own)
    assert line.own == (("virtual-time", None), ("release", "11.1"))
    assert line.start_stopped
    with pytest.raises(ConfigError, match="-release"):
        parse(["-release"], own=own)


def test_every_row_has_someone_who_takes_it_and_a_reason_if_it_is_not_modelled():
    flags = {"h", "help", "version"}
    for row in OPTIONS.values():
        if row.handling is Handling.MODELLED:
            assert not row.note
            assert not row.argument or row.name in _HANDLERS, row.name
        else:
            assert row.note, row.name
    assert flags <= set(OPTIONS)
    assert len(OPTIONS) == 117


def test_harmless_options_are_accepted_with_one_warning_each():
    line = cmdline("-machine none -rtc base=utc -rtc clock=vm -k de -overcommit cpu-pm=on")
    assert [warning.split(":")[0] for warning in line.warnings] == ["-rtc", "-k", "-overcommit"]
    assert all("cannot" in w or "because" in w for w in line.warnings)


@pytest.mark.parametrize("option", ["-nic none", "-net none", "-audio none", "-display none"])
def test_options_for_nothing_are_silent(option):
    assert cmdline(f"-machine none {option}").warnings == ()


@pytest.mark.parametrize(
    "option",
    ["-kernel k", "-bios b", "-icount shift=1", "-plugin p", "-readconfig c", "-nic user"],
)
def test_what_would_change_the_outcome_is_refused_by_name(option):
    name = option.split()[0]
    with pytest.raises(ConfigError, match=f"^{name}: migsim does not model it"):
        cmdline(f"-machine q35 {option}")
    line = cmdline(f"-machine q35 {option}", strict=False)
    assert [refusal.option for refusal in line.refused] == [name]


@pytest.mark.parametrize("option", ["-semihosting", "-old-param", "-g 1x1", "-prom-env x"])
def test_options_of_other_targets(option):
    with pytest.raises(ConfigError, match="other targets"):
        cmdline(option)


def test_errors_name_the_option_and_its_argument():
    with pytest.raises(ConfigError) as refused:
        cmdline("-machine none -object memory-backend-ram,id=r")
    assert refused.value.what == "-object memory-backend-ram,id=r"
    assert refused.value.__cause__ is not None


def test_long_arguments_are_cut_in_messages():
    with pytest.raises(ConfigError) as refused:
        parse(["-uuid", "x" * 100_000])
    assert len(str(refused.value)) < 2000


def test_a_bare_word_is_deprecated():
    line = cmdline("-machine none -chardev null,id=c,mux")
    assert len(line.warnings) == 1
    assert "mux=on" in line.warnings[0]


@pytest.mark.parametrize(
    ("words", "kind", "subject"),
    [
        ("-version", "version", None),
        ("-h", "help", None),
        ("--help", "help", None),
        ("-machine help", "machine", None),
        ("-M help", "machine", None),
        ("-machine q35,help", "machine", "q35"),
        ("-device help", "device", None),
        ("-device nvme,help", "device", "nvme"),
        ("-cpu help", "cpu", None),
        ("-accel help", "accel", None),
        ("-object help", "object", None),
        ("-chardev help", "chardev", None),
        ("-display help", "display", None),
        ("-netdev help", "netdev", None),
        ("-drive format=?", "drive", None),
        ("-audiodev help", "audiodev", None),
    ],
)
def test_wishes_for_a_text(words, kind, subject):
    info = cmdline(words).info
    assert (info.kind, info.subject) == (kind, subject)
    text = info_text(info)
    assert text.endswith("\n")
    assert len(text.splitlines()) >= 2


def test_a_text_is_given_before_errors_that_come_later():
    assert cmdline("-version -machine nosuch").info.kind == "version"
    assert cmdline("-machine nosuch -version").info.kind == "version"
    with pytest.raises(ConfigError):
        cmdline("-nosuch -version")
    with pytest.raises(ConfigError):
        cmdline("-m 1x -version")


def test_the_version_has_the_form_that_programs_look_for():
    text = info_text(cmdline("-version").info)
    assert re.match(r"QEMU emulator version 10\.0\.2 ", text)
    text = info_text(cmdline("-version").info, Release.V11_1)
    assert re.match(r"QEMU emulator version 11\.1\.3 ", text)


def test_the_list_of_machines_has_the_aliases():
    lines = info_text(cmdline("-M help").info).splitlines()
    names = [line.split()[0] for line in lines[1:]]
    assert {"none", "microvm", "pc", "q35", "pc-q35-10.0", "pc-i440fx-2.4"} <= set(names)
    assert len(set(names)) == len(names)
    newer = info_text(cmdline("-M help").info, Release.V11_1)
    assert "pc-q35-11.1" in newer
