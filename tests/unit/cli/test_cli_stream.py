"""``migsim stream``: exit codes, JSON, and text that can be read."""

from __future__ import annotations

import json
import re

import pytest
from state_files import (
    HEADER,
    block_list,
    blocks_in,
    configuration,
    data_bytes,
    device,
    globalstate,
    pages,
    ram_hashes,
    sample_files,
    stream,
    unpacked,
)

from migsim.__main__ import main
from migsim.cli.console import progress_bar
from migsim.cli.visible import visible
from migsim.streamtool import StreamFiles

Q35 = "q35-8m-mapped-ram"


@pytest.fixture
def run(capsys):
    """Run a command; return status, output and errors."""

    def call(*words):
        status = main(["stream", *map(str, words)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def words_of(name):
    files = sample_files(name)
    words = [files.path, "--offset", files.offset]
    for channel in files.channels:
        words += ["--channel", channel]
    return words


@pytest.fixture
def odd(tmp_path):
    """Return a stream whose check gives a warning, and one that breaks off."""
    (tmp_path / "warned").write_bytes(stream(records=b""))
    (tmp_path / "broken").write_bytes(stream()[:-20])
    (tmp_path / "nothing").write_bytes(b"no stream at all")
    return tmp_path


# Exit codes


def test_fine_is_0(run, tmp_path):
    path = unpacked("none-1m.bin.xz")
    out = tmp_path / "out"
    for words in (
        ("info", path),
        ("show", path),
        ("show", path, "timer/cpu_clock_offset"),
        ("check", path),
        ("check", path, "--machine", "none"),
        ("diff", path, path, "--ram"),
        ("extract-ram", path, "-o", out),
        ("convert", path, out, "--format", "mapped-ram"),
        ("replace-ram", path, tmp_path / "new", "--block", "ram0", "--from", tmp_path / "ram"),
    ):
        (tmp_path / "ram").write_bytes(bytes(1 << 20))
        for more in ((), ("--json",)):
            status, text, errors = run(*words, *more)
            assert (status, errors) == (0, ""), words
            assert text


def test_findings_are_1(run, odd):
    for words in (
        ("info", odd / "broken"),
        ("show", odd / "broken"),
        ("check", odd / "broken"),
        ("check", odd / "warned"),
        ("check", unpacked("q35-8m.bin.xz"), "--machine", "pc"),
        ("diff", unpacked("none-1m.bin.xz"), unpacked("none-4m-default-ram.bin.xz")),
        (
            "extract-ram",
            unpacked("pc-8m-cancelled.bin.xz"),
            "--block",
            "ram0",
            "--partial",
            "-o",
            odd / "ram",
        ),
    ):
        for more in ((), ("--json",)):
            status, text, errors = run(*words, *more)
            assert (status, errors) == (1, ""), words
            assert text


def test_what_cannot_be_used_is_2(run, odd):
    good, out = unpacked("none-1m.bin.xz"), odd / "out"
    for words in (
        ("info", odd / "nothing"),
        ("info", odd / "missing"),
        ("info", odd),
        ("info", good, "--offset", "nonsense"),
        ("info", good, "--offset", "4k"),
        ("show", odd / "nothing"),
        ("show", odd / "broken", "globalstate"),
        ("show", good, "nonsense"),
        ("check", odd / "nothing"),
        ("check", good, "--channel", odd / "missing"),
        ("diff", good, odd / "broken"),
        ("diff", odd / "nothing", good),
        ("extract-ram", odd / "broken", "-o", out),
        ("extract-ram", good, "--block", "ram9", "-o", out),
        ("extract-ram", good, "-o", good),
        ("convert", good, out, "--format", "nonsense"),
        ("convert", good, out, "--format", "multifd"),
        ("convert", good, out, "--format", "plain", "--zero-pages", "nonsense"),
        ("convert", good, out, "--format", "plain", "--dst-offset", "-1"),
        ("convert", good, good, "--format", "plain"),
        ("convert", odd / "broken", out, "--format", "plain"),
        ("convert", good, odd / "no" / "out", "--format", "plain"),
        ("replace-ram", good, out, "--block", "ram0", "--from", odd / "nothing"),
        ("replace-ram", good, out, "--block", "ram0"),
        ("replace-ram", good, out, "--block", "ram0", "--block", "b", "--from", good),
        ("replace-ram", good, out, "--block", "a", "--block", "a", "--from", good, "--from", good),
        ("convert", good, out),
        ("nonsense",),
    ):
        status, text, errors = run(*words)
        assert (status, text) == (2, ""), words
        assert re.fullmatch(r"migsim: [^\n]+\n", errors), words
        assert not out.exists()


# JSON


def keys_of(value):
    return set(value)


def test_info_as_json(run):
    status, text, _ = run("info", *words_of("none-2m-multifd-uuid"), "--json")
    found = json.loads(text)
    assert status == 0
    assert keys_of(found) == {
        "path", "file_bytes", "wrapper", "offset", "length_bytes", "trailing_bytes", "form",
        "machine", "capabilities", "uuid", "page_bytes", "footers", "run_state", "was_suspended",
        "sections", "blocks", "commands", "flushes", "channels", "early_pages",
        "description_offset", "description_bytes", "ended", "fault",
    }  # fmt: skip
    assert keys_of(found["sections"][0]) == {
        "name", "instance_id", "version", "section_id", "offset", "size_bytes", "parts",
        "iterable", "complete", "described",
    }  # fmt: skip
    assert keys_of(found["blocks"][0]) == {
        "name", "size_bytes", "page_bytes", "pages", "content_pages", "zero_pages",
        "absent_pages", "normal_records", "zero_records", "delta_records", "payload_bytes",
        "in_stream", "complete", "address", "host_page_bytes", "mapped",
    }  # fmt: skip
    assert (found["form"], found["machine"], len(found["channels"])) == ("multifd", "none", 3)
    _, text, _ = run("info", *words_of("none-2m-mapped-ram-offset"), "--json")
    found = json.loads(text)
    assert found["offset"] == 0x3000
    assert keys_of(found["blocks"][0]["mapped"]) == {"bitmap_offset", "pages_offset", "version"}


def test_show_as_json(run):
    status, text, _ = run("show", *words_of("q35-8m"), "cpu/env.regs", "--json")
    (section,) = json.loads(text)["sections"]
    assert status == 0
    assert keys_of(section) == {
        "name", "instance_id", "version", "offset", "size_bytes", "described", "fields",
    }  # fmt: skip
    (field,) = section["fields"]
    assert (field["path"], field["type"], len(field["value"])) == ("env.regs", "uint64", 16)
    _, text, _ = run("show", *words_of("none-1m"), "globalstate/runstate", "--json")
    value = json.loads(text)["sections"][0]["fields"][0]["value"]
    assert bytes.fromhex(value).rstrip(b"\0") == b"running"


def test_check_as_json(run):
    status, text, _ = run("check", *words_of("pc-8m-cancelled"), "--json")
    found = json.loads(text)
    assert status == 1
    assert keys_of(found) == {
        "path", "verdict", "reason", "fault", "complete_sections", "complete_blocks", "findings",
        "info",
    }  # fmt: skip
    assert found["verdict"] == "fails"
    assert keys_of(found["fault"]) == {"offset", "section", "expected", "found"}
    assert found["fault"]["offset"] == 788523
    assert [f["code"] for f in found["findings"]] == ["cut-off"]
    assert keys_of(found["findings"][0]) == {"code", "severity", "text", "offset"}


def test_diff_as_json(run):
    status, text, _ = run(
        "diff", unpacked("pc-8m-xbzrle.bin.xz"), unpacked("pc-8m-precopy-live.bin.xz"),
        "--ram", "--json",
    )  # fmt: skip
    found = json.loads(text)
    assert status == 1
    assert keys_of(found) == {
        "a", "b", "facts", "sections", "blocks", "same_sections", "ram_compared", "not_comparable",
    }  # fmt: skip
    (block,) = found["blocks"]
    assert (block["name"], block["different_pages"], block["ranges"]) == ("ram0", 128, [[512, 639]])
    section = found["sections"][0]
    assert keys_of(section) == {
        "name", "instance_id", "side", "version_a", "version_b", "size_a", "size_b", "fields",
    }  # fmt: skip
    assert keys_of(section["fields"][0]) == {"path", "side", "type_a", "type_b", "a", "b", "places"}


def test_what_was_written_as_json(run, tmp_path):
    _, text, _ = run(
        "convert", *words_of("none-1m"), tmp_path / "m", "--format", "mapped-ram", "--json"
    )
    found = json.loads(text)
    assert found == {
        "path": str(tmp_path / "m"),
        "form": "mapped-ram",
        "offset": 0,
        "length_bytes": (tmp_path / "m").stat().st_size,
        "content_pages": 223,
        "zero_pages": 0,
        "silent_pages": 33,
        "dropped": [],
    }
    _, text, _ = run("extract-ram", tmp_path / "m", "-o", tmp_path / "r", "--json")
    found = json.loads(text)
    assert keys_of(found) == {
        "path", "block", "size_bytes", "content_pages", "zero_pages", "absent_pages",
        "disk_bytes", "fault",
    }  # fmt: skip


# What the options do


def test_offsets_of_source_and_target(run, tmp_path):
    source = unpacked("none-1m-offset.bin.xz")
    new = tmp_path / "new"
    status, *_ = run(
        "convert",
        source,
        new,
        "--offset",
        "0x1000",
        "--format",
        "mapped-ram",
        "--dst-offset",
        "20k",
    )
    assert status == 0
    assert ram_hashes(StreamFiles.at(new, 20 << 10), ["ram0"]) == blocks_in("none-1m-offset")
    assert run("check", new, "--offset", "20k")[0] == 0
    assert run("diff", source, new, "--offset", "4096", "--offset-b", "20k", "--ram")[0] == 0


def test_an_offset_that_is_meant_for_the_new_file(run, tmp_path):
    status, _, errors = run(
        "convert",
        unpacked("none-1m.bin.xz"),
        tmp_path / "new",
        "--format",
        "plain",
        "--offset",
        "1M",
    )
    assert status == 2
    assert "--dst-offset" in errors
    _, _, errors = run("info", unpacked("none-1m.bin.xz"), "--offset", "1M")
    assert "which is 0" in errors
    assert "--dst-offset" not in errors


def test_channels_in_any_order(run, tmp_path):
    files = sample_files("none-2m-multifd-uuid")
    words = [word for channel in reversed(files.channels) for word in ("--channel", channel)]
    assert run("extract-ram", files.path, *words, "-o", tmp_path / "ram")[0] == 0
    assert (tmp_path / "ram").stat().st_size == 2 << 20
    b_words = [
        word.replace("--channel", "--channel-b") if isinstance(word, str) else word
        for word in words
    ]
    assert run("diff", files.path, files.path, *words, *b_words, "--ram")[0] == 0


def test_zero_pages_and_description(run, tmp_path):
    path = unpacked("none-4m-default-ram.bin.xz")
    run("convert", path, tmp_path / "a", "--format", "plain", "--zero-pages", "omit")
    run("convert", path, tmp_path / "b", "--format", "plain", "--drop-description")
    assert (tmp_path / "a").stat().st_size < 3000
    assert b"page_size" not in (tmp_path / "b").read_bytes()
    run("convert", path, tmp_path / "c", "--format", "mapped-ram", "--zero-pages", "mark")
    assert data_bytes(tmp_path / "c") < 100_000


# Text


def test_info_in_words(run):
    _, text, _ = run("info", unpacked(f"{Q35}.bin.xz"))
    assert re.search(r"machine +pc-q35-10\.0", text)
    assert re.search(r"run state +prelaunch", text)
    assert re.search(r"ram0 +8 MiB +2,048 +1,791 +257 +0 +1,791", text)
    assert re.search(r"globalstate +38 +0 +1 +0xe08e90 +134", text)


def test_check_in_words(run, odd):
    _, text, _ = run("check", unpacked(f"{Q35}.bin.xz"))
    assert text.splitlines()[0].endswith(": loads")
    assert "-machine pc-q35-10.0" in text
    assert "migrate-incoming file:" in text
    _, text, _ = run("check", unpacked("pc-8m-cancelled.bin.xz"))
    assert "does NOT load" in text
    assert "0xc082b (788,523) in ram" in text
    assert "RAM block ram0: 220 of 2,048 pages" in text
    (odd / "killer").write_bytes(stream(devices=globalstate(b"debug")))
    _, text, _ = run("check", odd / "killer")
    assert "KILLS the receiver" in text


def test_show_in_words(run):
    _, text, _ = run("show", unpacked("q35-8m.bin.xz"), "i8254")
    assert re.search(r"channels\[0\]\.count +int32 +65536 \(0x10000\)", text)
    _, text, _ = run("show", unpacked("q35-8m.bin.xz"), "fw_cfg")
    _, whole, _ = run("show", unpacked("q35-8m.bin.xz"), "cpu/env.regs")
    assert "more" not in whole
    assert whole.count("0x") >= 16


def test_diff_in_words(run):
    _, text, _ = run(
        "diff", unpacked("pc-8m-xbzrle.bin.xz"), unpacked("pc-8m-postcopy.bin.xz"), "--ram"
    )
    assert "RAM block ram0  128 of 2,048 pages differ" in text
    assert "pages 512-639" in text
    _, text, _ = run("diff", unpacked("none-1m.bin.xz"), unpacked("none-1m.bin.xz"))
    assert "No difference" in text
    assert "not compared" in text
    _, text, _ = run("diff", unpacked("q35-8m.bin.xz"), unpacked("pc-8m.bin.xz"))
    assert "machine: pc-q35-10.0 / pc-i440fx-10.0" in text
    assert "0000:00:00.0/mch  only in A" in text
    assert "fdc  only in B" in text


def test_long_values_are_shortened_and_long_lists_cut(run, tmp_path):
    (tmp_path / "a").write_bytes(stream(devices=device("one", bytes(range(200)))))
    (tmp_path / "b").write_bytes(stream(devices=device("one", bytes(reversed(range(200))))))
    _, text, _ = run("show", tmp_path / "a", "one")
    assert "... 184 more" in text
    _, text, _ = run("diff", tmp_path / "a", tmp_path / "b")
    assert "byte 0-199" in text


def test_nothing_in_a_file_steers_the_terminal(run, tmp_path):
    evil = "\x1b[31m[bold]\x07\x9b"
    name = evil.encode("latin-1")
    raw = stream(
        head=HEADER + configuration(name),
        setup=block_list(name),
        records=pages(0, [1] * 8, name),
        devices=device(name, b"\x1b" * 4) + globalstate(name),
    )
    (tmp_path / "a").write_bytes(raw)
    (tmp_path / "b").write_bytes(stream())
    for words in (
        ("info", tmp_path / "a"),
        ("check", tmp_path / "a"),
        ("show", tmp_path / "a"),
        ("diff", tmp_path / "a", tmp_path / "b", "--ram"),
        ("diff", tmp_path / "b", tmp_path / "a"),
        ("extract-ram", tmp_path / "a", "-o", tmp_path / "r"),
        ("show", tmp_path / "a", "nonsense"),
        ("extract-ram", tmp_path / "a", "--block", "x", "-o", tmp_path / "r"),
    ):
        _, text, errors = run(*words)
        for char in (*text, *errors):
            assert char == "\n" or char.isprintable(), words
        if words[0] == "info":
            assert r"\x1b[31m[bold]\x07" in text + errors


def test_visible():
    assert visible("plain [text] äöü") == "plain [text] äöü"
    assert visible("\x1b\n\x7f\x85") == r"\x1b\x0a\x7f\x85"
    assert visible(b"\xff".decode("utf-8", "surrogateescape")) == r"\xff"


def test_a_bar_is_drawn_on_a_terminal_only(monkeypatch, capsys):
    with progress_bar("reading") as tell:
        assert tell is None
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar("reading", wanted=False) as tell:
        assert tell is None
    with progress_bar("reading") as tell:
        assert tell is not None
        tell(1 << 20, 2 << 20)
        tell(2 << 20, None)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "reading" in captured.err
