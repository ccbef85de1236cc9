"""Values to bytes and back, kind by kind; versions, subsections, and bytes that do not fit."""

from __future__ import annotations

import pytest

from migsim.errors import DeviceError, IncompatibleError, StreamError
from migsim.vmstate.codec import decode, encode
from migsim.vmstate.fields import Field, FieldType, Subsection, VMStateDescription

T = FieldType


def describe(*fields: Field, subsections=(), version: int = 1, minimum: int = 0):
    return VMStateDescription("d", version, fields, minimum, subsections)


@pytest.mark.parametrize(
    ("kind", "value", "data"),
    [
        (T.BOOL, True, "01"),
        (T.INT8, -2, "fe"),
        (T.UINT8, 254, "fe"),
        (T.INT16, -2, "fffe"),
        (T.UINT16, 0x1234, "1234"),
        (T.INT32, -2, "fffffffe"),
        (T.UINT32, 0x12345678, "12345678"),
        (T.INT64, -2, "fffffffffffffffe"),
        (T.UINT64, 1 << 63, "8000000000000000"),
        (T.INT64_EQUAL, 1 << 63, "8000000000000000"),
        (T.TIMER, -1, "ff" * 8),
        (T.CPU_DOUBLE, 0x0102030405060708, "0102030405060708"),
        (T.CAPABILITY, "x-ignore-shared", "0f" + b"x-ignore-shared".hex()),
    ],
)
def test_wire_form_of_every_simple_kind(kind: FieldType, value: object, data: str) -> None:
    description = describe(Field("x", kind))
    assert encode(description, {"x": value}).hex() == data
    assert decode(description, bytes.fromhex(data)) == ({"x": value}, len(data) // 2)


def test_a_bitmap_is_whole_words_with_the_lowest_bits_in_the_first() -> None:
    description = describe(Field("x", T.BITMAP, size=65))
    data = bytes.fromhex("0000000000000002" + "0000000000000001")
    assert encode(description, {"x": 1 << 1 | 1 << 64}) == data
    assert decode(description, data)[0]["x"] == 1 << 1 | 1 << 64


def test_buffers_arrays_and_structures() -> None:
    inner = VMStateDescription("i", 1, (Field("a", T.UINT8), Field("b", T.UINT16)))
    description = describe(
        Field("n", T.UINT8),
        Field("raw", T.BUFFER, size_field="n"),
        Field("gap", T.UNUSED, size=2),
        Field("fixed", T.UINT16, count=2),
        Field("list", T.STRUCT, count_field="n", struct=inner),
    )
    values = {
        "n": 2,
        "raw": b"xy",
        "fixed": [1, 2],
        "list": [{"a": 3, "b": 4}, {"a": 5, "b": 6}],
    }
    data = bytes.fromhex("02 7879 0000 0001 0002 03 0004 05 0006")
    assert encode(description, values) == data
    assert decode(description, data) == (values, len(data))


def test_unused_bytes_are_written_as_zeros_and_may_hold_anything_when_read() -> None:
    description = describe(Field("gap", T.UNUSED, size=2), Field("x", T.UINT8))
    assert encode(description, {"gap": b"zz", "x": 1}) == b"\0\0\1"
    assert decode(description, b"zz\1") == ({"x": 1}, 3)


def test_any_byte_but_zero_is_true() -> None:
    assert decode(describe(Field("x", T.BOOL)), b"\x02")[0] == {"x": True}


def test_a_field_of_a_later_version_keeps_the_local_value() -> None:
    description = describe(Field("a", T.UINT8), Field("b", T.UINT8, version=2), version=2)
    values = {"a": 1, "b": 2}
    assert encode(description, values) == b"\1\2"
    assert encode(description, values, version=1) == b"\1"
    assert decode(description, b"\7", version=1, local=values) == ({"a": 7, "b": 2}, 1)
    assert decode(description, b"\7", version=1) == ({"a": 7}, 1)


def test_a_condition_sees_the_values_read_so_far() -> None:
    extra = Field("extra", T.UINT8, exists=lambda values, _: values["has"] == 1)
    description = describe(Field("has", T.UINT8), extra)
    assert decode(description, b"\1\5") == ({"has": 1, "extra": 5}, 2)
    assert decode(description, b"\0\5") == ({"has": 0}, 1)


@pytest.mark.parametrize("version", [0, 1, 4])
def test_versions_outside_the_accepted_ones(version: int) -> None:
    description = describe(Field("a", T.UINT8), version=3, minimum=2)
    with pytest.raises(IncompatibleError, match="version 2 to 3") as caught:
        decode(description, b"..\1", 2, version, "dev", base=100)
    assert (caught.value.offset, caught.value.section) == (102, "dev")


@pytest.mark.parametrize(
    ("kind", "local", "data", "fits"),
    [
        (T.UINT32_EQUAL, 5, b"\0\0\0\5", True),
        (T.UINT32_EQUAL, 5, b"\0\0\0\6", False),
        (T.INT32_LE, 5, b"\0\0\0\5", True),
        (T.INT32_LE, 5, b"\0\0\0\6", False),
        (T.INT32_LE, 5, b"\0\0\0\0", True),
        (T.INT32_LE, 5, b"\xff\xff\xff\xff", False),
        (T.UINT8_EQUAL, 5, b"\4", False),
        (T.UINT16_EQUAL, 5, b"\0\4", False),
        (T.INT32_EQUAL, -1, b"\xff\xff\xff\xff", True),
        (T.INT64_EQUAL, 5, bytes(8), False),
    ],
)
def test_compared_kinds_look_at_the_local_value(kind, local, data, fits) -> None:
    description = describe(Field("x", kind))
    if fits:
        assert decode(description, data, local={"x": local})[1] == len(data)
        return
    with pytest.raises(IncompatibleError) as caught:
        decode(description, b"." + data, 1, local={"x": local}, base=7)
    assert caught.value.offset == 8


def test_compared_kinds_in_arrays_and_structures_see_their_own_local_value() -> None:
    inner = VMStateDescription("i", 1, (Field("s", T.UINT8_EQUAL), Field("v", T.UINT8)))
    description = describe(Field("r", T.STRUCT, count=2, struct=inner))
    local = {"r": [{"s": 1, "v": 0}, {"s": 2, "v": 0}]}
    values, _ = decode(description, b"\1\7\2\x08", local=local)
    assert values == {"r": [{"s": 1, "v": 7}, {"s": 2, "v": 8}]}
    assert local == {"r": [{"s": 1, "v": 0}, {"s": 2, "v": 0}]}
    with pytest.raises(IncompatibleError):
        decode(description, b"\1\7\1\x08", local=local)


def nested() -> VMStateDescription:
    leaf = VMStateDescription("d/a/x", 1, (Field("x", T.UINT8),))
    a = VMStateDescription(
        "d/a", 2, (Field("a", T.UINT8),), 1, (Subsection(leaf, lambda v: "x" in v),)
    )
    b = VMStateDescription("d/b", 1, (Field("b", T.UINT8),))
    return describe(
        Field("top", T.UINT8),
        subsections=(Subsection(a, lambda v: "a" in v), Subsection(b, lambda v: "b" in v)),
    )


def test_subsections_are_written_when_needed_and_nest() -> None:
    a = b"\x05\x03d/a\0\0\0\2\1"
    x = b"\x05\x05d/a/x\0\0\0\1\2"
    b = b"\x05\x03d/b\0\0\0\1\3"
    assert encode(nested(), {"top": 0}) == b"\0"
    assert encode(nested(), {"top": 0, "a": 1, "x": 2, "b": 3}) == b"\0" + a + x + b
    for order in (a + x + b, b + a + x):
        values, end = decode(nested(), b"\0" + order + b"\x7e")
        assert values == {"top": 0, "a": 1, "x": 2, "b": 3}
        assert end == 1 + len(order)


def test_an_absent_subsection_keeps_the_local_values() -> None:
    values, _ = decode(nested(), b"\0", local={"top": 9, "a": 4})
    assert values == {"top": 0, "a": 4}


def test_an_unknown_subsection_of_the_right_prefix_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="d/zz") as caught:
        decode(nested(), b"\0\x05\x04d/zz\0\0\0\1")
    assert caught.value.offset == 1


def test_a_subsection_of_a_newer_version_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="version 3"):
        decode(nested(), b"\0\x05\x03d/a\0\0\0\3\1")


@pytest.mark.parametrize("rest", [b"\x05", b"\x05\x03d/", b"\x05\x03e/a\0\0\0\1\1", b"\x7e\0"])
def test_what_is_no_subsection_ends_the_state(rest: bytes) -> None:
    assert decode(nested(), b"\0" + rest) == ({"top": 0}, 1)


@pytest.mark.parametrize("count", [3, 200])
def test_a_count_beyond_what_is_left_takes_no_memory(count: int) -> None:
    description = describe(Field("n", T.UINT8), Field("x", T.UINT64, count_field="n"))
    with pytest.raises(StreamError, match="x"):
        decode(description, bytes([count, 0, 0]))


def test_negative_counts_and_sizes() -> None:
    for field in (
        Field("x", T.UINT8, count_field="n"),
        Field("x", T.BUFFER, size_field="n"),
        Field("x", T.BITMAP, size_field="n"),
    ):
        description = describe(Field("n", T.INT8), field)
        with pytest.raises(StreamError, match="x"):
            decode(description, b"\xff" + bytes(16))
        with pytest.raises(DeviceError):
            encode(description, {"n": -1, "x": b""})


def test_an_offset_outside_the_buffer() -> None:
    for offset in (-1, 3):
        with pytest.raises(StreamError):
            decode(describe(Field("x", T.UINT8)), b"..", offset)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (Field("x", T.UINT8), 256),
        (Field("x", T.UINT8), -1),
        (Field("x", T.UINT8), "1"),
        (Field("x", T.UINT8, count=2), [1]),
        (Field("x", T.UINT8, count=2), [1, 256]),
        (Field("x", T.UINT8, count=2), b"ab"),
        (Field("x", T.BUFFER, size=2), b"a"),
        (Field("x", T.BUFFER, size=2), 7),
        (Field("x", T.BITMAP, size=64), 1 << 64),
        (Field("x", T.BITMAP, size=64), -1),
        (Field("x", T.BITMAP, size=64), b""),
        (Field("x", T.CAPABILITY), "c" * 256),
        (Field("x", T.CAPABILITY), 1),
        (Field("x", T.STRUCT, struct=describe(Field("y", T.UINT8))), 1),
        (Field("x", T.STRUCT, struct=describe(Field("y", T.UINT8))), {}),
    ],
)
def test_values_that_do_not_fit_are_device_errors(field: Field, value: object) -> None:
    with pytest.raises(DeviceError) as caught:
        encode(describe(field), {"x": value})
    assert caught.value.phase == "save"
    with pytest.raises(DeviceError):
        encode(describe(field), {})
