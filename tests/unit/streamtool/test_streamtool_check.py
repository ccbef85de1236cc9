"""The verdict: the manifest's for every sample, and that of the spec for what breaks receivers."""

from __future__ import annotations

import struct

import pytest
from state_files import (
    EOS,
    FOOTER,
    HEADER,
    LAST,
    MANIFEST,
    PING,
    RETURN_PATH,
    SETUP,
    WHOLE,
    block_list,
    configuration,
    device,
    globalstate,
    pages,
    part,
    sample_files,
    stream,
    unpacked,
    word,
    written,
)

from migsim.errors import StreamError
from migsim.streamtool import Severity, StreamFiles, Verdict, check_stream
from migsim.streamtool.findings import RULES


def checked(tmp_path, raw, **options):
    return check_stream(written(tmp_path / "s", raw), **options)


def codes(report, *severities):
    return {f.code for f in report.findings if not severities or f.severity in severities}


@pytest.mark.parametrize("name", MANIFEST)
def test_the_verdict_is_that_of_the_manifest(name):
    report = check_stream(sample_files(name))
    malformed = MANIFEST[name].get("malformed", False)
    assert report.verdict is (Verdict.FAILS if malformed else Verdict.LOADS)
    assert report.ok == (not malformed)
    assert (report.fault is not None) == malformed
    assert bool(report.reason) == malformed


def test_the_cancelled_sample_breaks_off_in_front_of_a_footer():
    report = check_stream(sample_files("pc-8m-cancelled"))
    size = MANIFEST["pc-8m-cancelled"]["raw_size"]
    assert (report.fault.offset, report.fault.section) == (size, "ram")
    assert "footer" in report.fault.expected
    assert report.complete_blocks == ()
    assert codes(report, Severity.FAILS) == {"cut-off"}
    assert report.info.blocks[0].content_pages == 192


@pytest.mark.parametrize("name", ["none-1m", "none-2m-mapped-ram", "q35-8m"])
def test_a_cut_file_is_told_with_offset_and_what_is_whole(tmp_path, name):
    raw = sample_files(name).path.read_bytes()
    at = raw.index(b"globalstate")
    report = checked(tmp_path, raw[: at + 20])
    assert report.verdict is Verdict.FAILS
    assert report.fault.section == "globalstate"
    assert at - 6 <= report.fault.offset <= at + 20
    assert report.complete_blocks == tuple(MANIFEST[name]["blocks"])
    assert "timer" in {section.name for section in report.complete_sections}
    assert "globalstate" not in {section.name for section in report.complete_sections}
    assert not codes(report, Severity.NOTE, Severity.NEEDS)


def test_malformed_bytes_are_told_with_offset_and_expectation(tmp_path):
    raw = stream(records=pages(0, [1, 2]) + word(0x2000, 0x100))
    report = checked(tmp_path, raw)
    assert codes(report) == {"malformed"}
    assert report.fault.offset == raw.index(word(0x2000, 0x100))
    assert "known kind" in report.fault.expected


def test_what_is_no_stream_has_no_verdict(tmp_path):
    with pytest.raises(StreamError):
        checked(tmp_path, b"QEVM\0\0\0\2")


# What breaks receivers


@pytest.mark.parametrize("name", [b"save-vm", b"debug"])
def test_run_states_that_kill_the_receiver(tmp_path, name):
    report = checked(tmp_path, stream(devices=globalstate(name)))
    assert report.verdict is Verdict.KILLS
    assert name.decode() in report.reason
    (finding,) = report.of(Severity.KILLS)
    assert finding.offset == stream(devices=globalstate(name)).index(globalstate(name))
    assert not report.ok


@pytest.mark.parametrize("name", [b"nonsense", b"", b"running" * 4 + b"long", b"\xff"])
def test_run_states_that_do_not_exist(tmp_path, name):
    report = checked(tmp_path, stream(devices=globalstate(name)))
    assert report.verdict is Verdict.FAILS
    assert codes(report, Severity.FAILS) == {"run-state-unknown"}


@pytest.mark.parametrize(
    "name",
    [b"paused", b"prelaunch", b"postmigrate", b"suspended", b"shutdown", b"colo", b"io-error"],
)
def test_other_run_states_load_and_stay(tmp_path, name):
    report = checked(tmp_path, stream(devices=globalstate(name)))
    assert report.ok
    assert "runs" not in codes(report)


@pytest.mark.parametrize(
    ("devices", "word"),
    [(globalstate(), "running"), (globalstate(suspended=1), "suspended"), (b"", "No run state")],
)
def test_what_runs_on_arrival(tmp_path, devices, word):
    report = checked(tmp_path, stream(devices=devices))
    (text,) = (finding.text for finding in report.findings if finding.code == "runs")
    assert word in text


def early_channel() -> bytes:
    """Return a multifd channel that sends a page before the sync point at setup."""
    initial = struct.pack(">II16sB39x", 0x11223344, 1, bytes(16), 0)

    def packet(flags, normal, number):
        allocated = 128 if normal else 0
        head = struct.pack(
            ">IIIIIIQI28x256s",
            0x11223344,
            1,
            flags,
            allocated,
            normal,
            normal * 4096,
            number,
            0,
            b"ram0" if normal else b"",
        )
        return head + bytes(8 * 128) + b"\7" * (4096 * normal)

    return initial + packet(0, 1, 0) + packet(1, 0, 1)


def test_pages_before_the_sync_point_at_setup_kill_the_receiver(tmp_path):
    flush = word(0, 0x200)
    raw = stream(setup=block_list("ram0") + flush, records=b"")
    (tmp_path / "s").write_bytes(raw)
    (tmp_path / "c").write_bytes(early_channel())
    report = check_stream(StreamFiles.at(tmp_path / "s", channels=[tmp_path / "c"]))
    assert report.verdict is Verdict.KILLS
    assert codes(report, Severity.KILLS) == {"multifd-early-pages"}
    assert report.info.early_pages == 1


def test_a_ping_needs_a_return_path(tmp_path):
    assert checked(tmp_path, stream(PING)).verdict is Verdict.FAILS
    assert checked(tmp_path, stream(PING, RETURN_PATH)).verdict is Verdict.FAILS
    report = checked(tmp_path, stream(RETURN_PATH, PING))
    assert report.ok
    assert "socket" in codes(report, Severity.NEEDS)
    assert "uri" not in codes(report)
    assert checked(tmp_path, stream(RETURN_PATH)).ok


# The receiver's machine


@pytest.mark.parametrize(
    ("stored", "receiver", "loads"),
    [
        (b"pc-q35-10.0", "pc-q35-10.0", True),
        (b"pc-q35-10.0", "q35", True),
        (b"pc-i440fx-10.0", "pc", True),
        (b"pc-q35-9.2", "q35", False),
        (b"pc-q35-10.0", "pc", False),
        (b"none", "none", True),
        (b"pc-q35", "q35", True),  # a prefix is enough
        (b"", "microvm", True),
        (b"virt-10.0", "virt-10.0", True),
        (b"virt-10.0", "virt", False),
    ],
)
def test_the_machine_of_the_receiver(tmp_path, stored, receiver, loads):
    head = HEADER + configuration(stored)
    report = checked(tmp_path, stream(head=head), machine=receiver)
    assert report.verdict is (Verdict.LOADS if loads else Verdict.FAILS)
    assert ("other-machine" in codes(report)) == (not loads)


def test_a_machine_that_is_newer_needs_a_newer_qemu(tmp_path):
    report = checked(tmp_path, stream(head=HEADER + configuration(b"pc-q35-11.1")))
    assert "newer-machine" in codes(report, Severity.NEEDS)
    report = checked(tmp_path, stream(head=HEADER + configuration(b"pc-q35-10.0")))
    assert "newer-machine" not in codes(report)


# What is missing, or more than there should be


@pytest.mark.parametrize("name", ["pc-8m-multifd", "pc-8m-multifd-legacy-zero"])
def test_channels_that_were_not_given(name):
    report = check_stream(StreamFiles.at(sample_files(name).path))
    assert not report.ok
    assert codes(report, Severity.WARNING) & {"no-pages", "missing-channels"}
    assert "--channel" in report.of(Severity.WARNING)[0].text


def test_a_channel_of_two_is_not_enough():
    files = sample_files("pc-8m-multifd")
    report = check_stream(StreamFiles.at(files.path, channels=files.channels[:1]))
    assert report.fault is not None
    assert not report.ok


def test_what_comes_behind_the_end_marker_is_no_reason_to_refuse(tmp_path):
    raw = unpacked("none-1m.bin.xz").read_bytes()
    report = checked(tmp_path, raw[:-10])
    assert (report.verdict, report.ok) == (Verdict.LOADS, False)
    assert codes(report, Severity.WARNING) == {"behind-the-end"}
    report = checked(tmp_path, raw + b"tail")
    assert report.ok
    (finding,) = (f for f in report.findings if f.code == "trailing-bytes")
    assert finding.offset == len(raw)


def test_a_stream_without_ram_pages(tmp_path):
    report = checked(tmp_path, stream(records=b""))
    assert report.verdict is Verdict.LOADS
    assert codes(report, Severity.WARNING) == {"no-pages"}
    report = checked(tmp_path, stream(records=pages(0, [1])))
    assert report.ok
    assert "fresh-ram" in codes(report, Severity.NOTE)


def test_switches_that_the_receiver_needs():
    needs = codes(check_stream(sample_files("none-1m-bare")), Severity.NEEDS)
    assert needs >= {"no-footers", "no-configuration"}
    report = check_stream(sample_files("none-1m-mapped-ram-no-configuration"))
    (text,) = (f.text for f in report.findings if f.code == "capabilities")
    assert text == "capability mapped-ram on"


def test_no_state_of_devices_is_worth_a_note(tmp_path):
    head = HEADER + configuration(b"microvm")
    assert "no-devices" in codes(checked(tmp_path, stream(head=head)))
    with_device = stream(head=head, devices=device("cpu", b"\0") + globalstate())
    assert "no-devices" not in codes(checked(tmp_path, with_device))
    assert "no-devices" not in codes(checked(tmp_path, stream()))


def test_a_ram_section_sent_in_one(tmp_path):
    full = b"\x04" + SETUP[1:] + block_list("ram0") + pages(0, [1] * 8) + EOS + FOOTER
    report = checked(tmp_path, HEADER + configuration() + full + globalstate() + b"\0")
    assert report.ok
    assert report.complete_blocks == ("ram0",)


def test_without_an_end_part_the_stream_is_whole_as_well(tmp_path):
    raw = HEADER + configuration() + SETUP + block_list("ram0") + EOS + FOOTER
    raw += part(pages(0, [1] * 8)) + globalstate() + b"\0"
    report = checked(tmp_path, raw)
    assert report.ok
    assert report.complete_blocks == ("ram0",)
    assert "no-ram-end" in codes(report)
    assert "no-ram-end" not in codes(checked(tmp_path, stream()))
    assert LAST not in raw


def test_libvirts_wrapper(tmp_path):
    xml = b"<domain/>\0"
    for magic, ok in ((b"LibvirtQemudSave", True), (b"LibvirtQemudPart", False)):
        header = struct.pack("<16s5I56x", magic, 2, len(xml), 1, 0, 0)
        report = checked(tmp_path, header + xml + stream())
        assert report.verdict is Verdict.LOADS
        assert report.ok == ok
        assert report.info.wrapper.complete == ok
        assert report.info.offset == 92 + len(xml)
        (uri,) = (f.text for f in report.findings if f.code == "uri")
        assert uri.endswith(f"offset={92 + len(xml)}")


def test_every_rule_has_a_name_of_its_own_and_a_source():
    names = [rule.code for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(rule.source for rule in RULES)


def test_findings_come_worst_first(tmp_path):
    report = checked(tmp_path, stream(PING, devices=globalstate(b"debug")))
    order = [list(Severity).index(finding.severity) for finding in report.findings]
    assert order == sorted(order)
    assert report.verdict is Verdict.KILLS


@pytest.mark.parametrize("name", WHOLE)
def test_what_a_receiver_needs_is_in_the_manifest_too(name):
    entry, report = MANIFEST[name], check_stream(sample_files(name))
    needs = {finding.code: finding.text for finding in report.of(Severity.NEEDS)}
    for capability in ("x-ignore-shared", "mapped-ram"):
        assert (capability in needs.get("capabilities", "")) == (
            capability in entry["capabilities"]
        )
    assert ("multifd" in needs) == bool(entry.get("channels"))
    return_path = bool(entry.get("return_path")) or name == "microvm-2m-xbzrle-cache"
    assert ("socket" in needs) == return_path
