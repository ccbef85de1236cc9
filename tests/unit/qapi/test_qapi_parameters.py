"""Parameters: defaults, boundary values, order of checks, text in and out."""

from __future__ import annotations

import copy
import pickle

import pytest

from migsim.errors import ParameterError
from migsim.qapi.enums import Capability, MigMode, MultiFDCompression, ZeroPageDetection
from migsim.qapi.parameter import Parameter
from migsim.qapi.parameter_checks import CHECKS, TYPE_CHECKS
from migsim.qapi.parameters import PARAMETERS, MigrationParameters, find, parameters_of
from migsim.qapi.release import Release

DEFAULTS = {
    "announce-initial": 50,
    "announce-max": 550,
    "announce-rounds": 5,
    "announce-step": 100,
    "throttle-trigger-threshold": 50,
    "cpu-throttle-initial": 20,
    "cpu-throttle-increment": 10,
    "cpu-throttle-tailslow": False,
    "max-cpu-throttle": 99,
    "tls-creds": "",
    "tls-hostname": "",
    "tls-authz": "",
    "max-bandwidth": 134217728,
    "avail-switchover-bandwidth": 0,
    "downtime-limit": 300,
    "x-checkpoint-delay": 20000,
    "multifd-channels": 2,
    "multifd-compression": "none",
    "multifd-zlib-level": 1,
    "multifd-qatzip-level": 1,
    "multifd-zstd-level": 1,
    "xbzrle-cache-size": 67108864,
    "max-postcopy-bandwidth": 0,
    "x-vcpu-dirty-limit-period": 1000,
    "vcpu-dirty-limit": 1,
    "mode": "normal",
    "zero-page-detection": "multifd",
    "direct-io": False,
}

HMP = """\
announce-initial: 50 ms
announce-max: 550 ms
announce-rounds: 5
announce-step: 100 ms
throttle-trigger-threshold: 50
cpu-throttle-initial: 20
cpu-throttle-increment: 10
cpu-throttle-tailslow: off
max-cpu-throttle: 99
tls-creds: ''
tls-hostname: ''
max-bandwidth: 134217728 bytes/second
avail-switchover-bandwidth: 0 bytes/second
downtime-limit: 300 ms
x-checkpoint-delay: 20000 ms
multifd-channels: 2
multifd-compression: none
zero-page-detection: multifd
xbzrle-cache-size: 67108864 bytes
max-postcopy-bandwidth: 0
tls-authz: ''
x-vcpu-dirty-limit-period: 1000 ms
vcpu-dirty-limit: 1 MB/s
mode: normal
direct-io: off"""

TOP = (1 << 64) - 1


@pytest.fixture
def parameters():
    return MigrationParameters()


def refusal(parameters, changes, **kwargs):
    with pytest.raises(ParameterError) as refused:
        parameters.updated(changes, **kwargs)
    return refused.value


def test_query_gives_the_28_defaults(parameters):
    assert parameters.query() == DEFAULTS
    assert all(type(v) in (int, bool, str) for v in parameters.query().values())


def test_monitor_prints_them_as_qemu_does(parameters):
    assert "\n".join(parameters.hmp_lines()) == HMP


def test_attributes_and_names_agree():
    for row in PARAMETERS:
        assert getattr(MigrationParameters, row.attribute) is row
        assert getattr(MigrationParameters(), row.attribute) == row.initial(Release.DEFAULT)


def test_names_in_both_orders_are_the_same():
    names = [row.name for row in PARAMETERS]
    assert len(set(names)) == len(names)
    assert sorted(TYPE_CHECKS) == sorted(names)
    ranged = {check for check in CHECKS if isinstance(check, str)}
    assert ranged <= set(names)
    bounded = {row.name for row in PARAMETERS if row.type.expected() != "bool" and row.minimum}
    assert bounded <= ranged | {"max-cpu-throttle"}


def test_values_are_typed(parameters):
    changed = parameters.updated({"mode": "cpr-reboot", "multifd-compression": "zstd"})
    assert changed.mode is MigMode.CPR_REBOOT
    assert changed.get("mode") is MigMode.CPR_REBOOT
    assert changed.multifd_compression is MultiFDCompression.ZSTD
    assert changed.query()["mode"] == "cpr-reboot"
    assert type(changed.query()["mode"]) is str
    assert isinstance(MigrationParameters.mode, Parameter)


def test_sets_are_values(parameters):
    changed = parameters.updated({"max-bandwidth": 0})
    assert parameters.max_bandwidth == 134217728
    assert changed != parameters
    assert changed.updated({"max-bandwidth": 134217728}) == parameters
    assert hash(changed.updated({"max-bandwidth": 134217728})) == hash(parameters)
    assert MigrationParameters(Release.V11_1) != parameters
    assert parameters != "parameters"
    assert repr(changed) == "MigrationParameters(10.0, max-bandwidth=0)"
    assert pickle.loads(pickle.dumps(changed)) == changed == copy.deepcopy(changed)
    with pytest.raises(AttributeError):
        changed.something = 1


# One line per boundary: accepted values, then refused ones.  All seen on QEMU 10.0.2.
BOUNDARIES = [
    ("announce-initial", [0, 100000], [-1, 100001, 1 << 64, "1", 1.0, True, None]),
    ("announce-max", [0, 100000], [100001]),
    ("announce-rounds", [0, 1000], [1001]),
    ("announce-step", [1, 10000], [0, 10001]),
    ("throttle-trigger-threshold", [1, 100], [-1, 0, 101, 256]),
    ("cpu-throttle-initial", [1, 99], [0, 100, -1, 256]),
    ("cpu-throttle-increment", [1, 99], [0, 100]),
    ("cpu-throttle-tailslow", [True, False], [0, 1, "on", None]),
    ("max-cpu-throttle", [20, 99], [19, 100, 256]),
    ("tls-creds", ["", "abc"], [1, True, []]),
    ("max-bandwidth", [0, TOP], [1 << 64, -(1 << 63) - 1, 1e3, "1M"]),
    ("avail-switchover-bandwidth", [0, 999, TOP], [1 << 64]),
    ("downtime-limit", [0, 2000000], [2000001, -1, 1 << 64]),
    ("x-checkpoint-delay", [0, (1 << 32) - 1], [1 << 32, -1]),
    ("multifd-channels", [1, 255], [0, 256, -1, -256]),
    ("multifd-compression", ["none", "zlib", "zstd"], ["qpl", "qatzip", "ZLIB", 1, None]),
    ("multifd-zlib-level", [0, 9], [10, -1]),
    ("multifd-zstd-level", [0, 20], [21]),
    ("multifd-qatzip-level", [1, 9], [0, 10]),
    ("xbzrle-cache-size", [4096, 1 << 40, 1 << 63], [0, 2048, 4097, 6144, TOP]),
    ("max-postcopy-bandwidth", [0, TOP], [1 << 64]),
    ("x-vcpu-dirty-limit-period", [1, 1000], [0, 1001, -1]),
    ("vcpu-dirty-limit", [1, TOP], [0]),
    ("mode", ["normal", "cpr-reboot", "cpr-transfer"], ["cpr-exec", "CPR-REBOOT", 1, None]),
    ("zero-page-detection", ["none", "legacy", "multifd"], ["x", None]),
    ("direct-io", [True, False], [1, "on"]),
]


@pytest.mark.parametrize(
    ("name", "accepted", "refused"), BOUNDARIES, ids=[b[0] for b in BOUNDARIES]
)
def test_boundary_values(parameters, name, accepted, refused):
    for value in accepted:
        assert parameters.updated({name: value}).query()[name] == value
    for value in refused:
        assert refusal(parameters, {name: value}).name == name


@pytest.mark.parametrize("name", ["max-bandwidth", "vcpu-dirty-limit", "max-postcopy-bandwidth"])
def test_negative_numbers_of_64_bits_wrap(parameters, name):
    assert parameters.updated({name: -1}).get(name) == TOP
    assert parameters.updated({name: -(1 << 63)}).get(name) == 1 << 63


def test_null_is_the_empty_text(parameters):
    named = parameters.updated({"tls-creds": "creds0", "tls-authz": "authz0"})
    assert named.tls
    assert not named.updated({"tls-creds": None}).tls
    assert named.updated({"tls-creds": None}).tls_authz == "authz0"


def test_one_bad_member_and_nothing_is_applied(parameters):
    error = refusal(parameters, {"max-bandwidth": 1, "downtime-limit": 2000001})
    assert (error.name, error.value) == ("downtime-limit", 2000001)
    assert "2000000" in error.expected
    assert parameters.max_bandwidth == 134217728


def test_types_come_before_names_and_names_before_ranges(parameters):
    assert refusal(parameters, {"bogus": 1, "max-bandwidth": "x"}).name == "max-bandwidth"
    assert refusal(parameters, {"announce-step": 0, "bogus": 1}).name == "bogus"
    assert refusal(parameters, {"mode": 3, "announce-initial": "x"}).name == "announce-initial"


def test_ranges_come_in_qemus_order(parameters):
    wrong = {"announce-initial": 100001, "max-cpu-throttle": 200, "throttle-trigger-threshold": 0}
    assert refusal(parameters, wrong).name == "throttle-trigger-threshold"
    del wrong["throttle-trigger-threshold"]
    assert refusal(parameters, wrong).name == "max-cpu-throttle"


def test_the_whole_set_is_checked_not_only_what_changes(parameters):
    low = parameters.updated({"max-cpu-throttle": 20})
    error = refusal(low, {"cpu-throttle-initial": 21})
    assert (error.name, error.value) == ("max-cpu-throttle", 20)
    error = refusal(parameters, {"cpu-throttle-initial": 60, "max-cpu-throttle": 50})
    assert (error.name, error.value) == ("max-cpu-throttle", 50)
    assert low.updated({"cpu-throttle-initial": 20}).cpu_throttle_initial == 20


def test_mapped_ram_looks_at_what_is_stored(parameters):
    mapped = {Capability.MAPPED_RAM}
    locked = parameters.updated({"multifd-compression": "zlib"}, capabilities=mapped)
    for changes in ({}, {"multifd-compression": "none"}, {"max-bandwidth": 5}):
        error = refusal(locked, changes, capabilities=mapped)
        assert error.name == "multifd-compression"
        assert "mapped-ram" in error.expected
    freed = locked.updated({"multifd-compression": "none"})
    secret = freed.updated({"tls-creds": "creds0"}, capabilities=mapped)
    assert refusal(secret, {"tls-creds": ""}, capabilities=mapped).name == "tls-creds"


def test_zero_copy_looks_at_what_is_to_be(parameters):
    zero_copy = {Capability.MULTIFD, Capability.ZERO_COPY_SEND}
    assert refusal(parameters, {"multifd-compression": "zlib"}, capabilities=zero_copy)
    assert refusal(parameters, {"tls-creds": "x"}, capabilities=zero_copy).name == "tls-creds"
    assert parameters.updated({"tls-authz": "x"}, capabilities=zero_copy).tls_authz == "x"
    compressed = parameters.updated({"multifd-compression": "zlib"})
    assert compressed.updated({"multifd-compression": "none"}, capabilities=zero_copy)


# (name, text, value or None if refused), all seen in the human monitor of QEMU 10.0.2.
TEXTS = [
    ("max-bandwidth", "1", 1 << 20),
    ("max-bandwidth", "100k", 102400),
    ("max-bandwidth", "1b", 1),
    ("max-bandwidth", "1.5", 1572864),
    ("max-bandwidth", ".5", 524288),
    ("max-bandwidth", "1.", 1 << 20),
    ("max-bandwidth", "0.9999999", 1 << 20),
    ("max-bandwidth", "0.0000001", 0),
    ("max-bandwidth", "0x10", 16 << 20),
    ("max-bandwidth", "010", 10 << 20),
    ("max-bandwidth", "+5", 5 << 20),
    ("max-bandwidth", "0x10k", None),
    ("max-bandwidth", "1E", 1 << 60),
    ("max-bandwidth", "8796093022207", 8796093022207 << 20),
    ("max-bandwidth", "8796093022208", None),
    ("max-bandwidth", "-1", None),
    ("max-bandwidth", "1KB", None),
    ("max-bandwidth", "1e3", None),
    ("max-bandwidth", ".", None),
    ("max-bandwidth", "", None),
    ("avail-switchover-bandwidth", "1", 1 << 20),
    ("max-postcopy-bandwidth", "7", 7),
    ("max-postcopy-bandwidth", "7.5k", 7680),
    ("max-postcopy-bandwidth", "18446744073709551615", TOP),
    ("max-postcopy-bandwidth", "18446744073709551616", None),
    ("max-postcopy-bandwidth", "15.9999999999999999999999E", None),
    ("max-postcopy-bandwidth", "-1", None),
    ("max-postcopy-bandwidth", "1.0", 1),
    ("max-postcopy-bandwidth", "1.5", None),
    ("max-postcopy-bandwidth", "1.5b", None),
    ("xbzrle-cache-size", "64k", 65536),
    ("xbzrle-cache-size", "8E", None),
    ("downtime-limit", "1k", 1024),
    ("downtime-limit", "0x64", 100),
    ("downtime-limit", "300ms", None),
    ("announce-initial", "1k", 1024),
    ("x-vcpu-dirty-limit-period", "0.5k", 512),
    ("vcpu-dirty-limit", "1k", 1024),
    ("x-checkpoint-delay", "0x20", 32),
    ("x-checkpoint-delay", "1k", None),
    ("x-checkpoint-delay", "4294967296", None),
    ("throttle-trigger-threshold", "061", 49),
    ("throttle-trigger-threshold", "+61", 61),
    ("throttle-trigger-threshold", " 61", 61),
    ("throttle-trigger-threshold", "08", None),
    ("throttle-trigger-threshold", "-1", None),
    ("throttle-trigger-threshold", "-18446744073709551615", 1),
    ("throttle-trigger-threshold", "59.5", None),
    ("multifd-channels", "256", None),
    ("cpu-throttle-tailslow", "yes", True),
    ("cpu-throttle-tailslow", "n", False),
    ("cpu-throttle-tailslow", "1", None),
    ("cpu-throttle-tailslow", "ON", None),
    ("tls-creds", "''", "''"),
    ("mode", "cpr-reboot", "cpr-reboot"),
    ("mode", "cpr-exec", None),
    ("block-bitmap-mapping", "[]", None),
    ("bogus", "1", None),
    ("max_bandwidth", "1", None),
]


@pytest.mark.parametrize(("name", "text", "value"), TEXTS, ids=[f"{n}={t}" for n, t, _ in TEXTS])
def test_text_of_the_human_monitor(parameters, name, text, value):
    if value is None:
        with pytest.raises(ParameterError) as refused:
            parameters.parse_hmp(name, text)
        assert refused.value.name == name
    else:
        assert parameters.parse_hmp(name, text) == value


# (property, text, parameter and value, or None if refused), all seen with -global of QEMU 10.0.2.
GLOBALS = [
    ("mode", "cpr-reboot", ("mode", MigMode.CPR_REBOOT)),
    ("x-max-bandwidth", "5", ("max-bandwidth", 5)),
    ("x-max-bandwidth", "1.5k", ("max-bandwidth", 1536)),
    ("x-max-bandwidth", "-1", None),
    ("max-bandwidth", "5", None),
    ("x-downtime-limit", "0x20", ("downtime-limit", 32)),
    ("x-downtime-limit", "1k", None),
    ("x-downtime-limit", "3000000", None),
    ("vcpu-dirty-limit", "1k", None),
    ("announce-initial", "1k", ("announce-initial", 1024)),
    ("multifd-channels", "010", ("multifd-channels", 8)),
    ("multifd-channels", "0", None),
    ("x-cpu-throttle-tailslow", "true", ("cpu-throttle-tailslow", True)),
    ("zero-page-detection", "legacy", ("zero-page-detection", ZeroPageDetection.LEGACY)),
    ("direct-io", "on", None),
    ("block-bitmap-mapping", "x", None),
    ("tls-hostname", "", ("tls-hostname", "")),
]


@pytest.mark.parametrize(
    ("name", "text", "result"), GLOBALS, ids=[f"{n}={t}" for n, t, _ in GLOBALS]
)
def test_globals(name, text, result):
    if result is None:
        with pytest.raises(ParameterError):
            MigrationParameters.from_globals([(name, text)])
    else:
        assert MigrationParameters.from_globals([(name, text)]).get(result[0]) == result[1]


def test_globals_are_checked_together_and_the_last_wins():
    pairs = [("max-cpu-throttle", "10"), ("x-cpu-throttle-initial", "5"), ("mode", "cpr-reboot")]
    parameters = MigrationParameters.from_globals([*pairs, ("mode", "normal")])
    assert (parameters.max_cpu_throttle, parameters.mode) == (10, MigMode.NORMAL)
    with pytest.raises(ParameterError):
        MigrationParameters.from_globals(pairs[:1])


def test_parameters_by_release():
    old, new = MigrationParameters(Release.V8_2), MigrationParameters(Release.V11_1)
    assert set(new.query()) - set(DEFAULTS) == {"cpr-exec-command", "x-rdma-chunk-size"}
    gone = {"compress-level", "compress-threads", "decompress-threads", "compress-wait-thread"}
    later = {"zero-page-detection", "direct-io", "multifd-qatzip-level"}
    assert set(old.query()) == set(DEFAULTS) - later | gone | {"block-incremental"}
    assert old.zero_page_detection is ZeroPageDetection.LEGACY
    assert new.query()["cpr-exec-command"] == []
    with pytest.raises(ParameterError):
        old.get("direct-io")
    with pytest.raises(ParameterError):
        old.updated({"mode": "cpr-transfer"})
    assert old.updated({"compress-level": 9}).compress_level == 9
    assert refusal(old, {"compress-level": 10}).name == "compress-level"
    assert new.updated({"mode": "cpr-exec"}).mode is MigMode.CPR_EXEC


def test_new_parameters_of_11_1():
    new = MigrationParameters(Release.V11_1)
    lines = new.updated({"cpr-exec-command": ["qemu", "-S"]}).hmp_lines()
    assert "cpr-exec-command: qemu -S" in lines
    assert "cpr-exec-command:" in new.hmp_lines()
    assert "max-postcopy-bandwidth: 0 bytes/second" in lines
    assert "x-rdma-chunk-size: 1048576 bytes" in lines
    assert new.parse_hmp("cpr-exec-command", "qemu -name 'a b'") == ["qemu", "-name", "a b"]
    for text in ("'", "a 'b"):
        with pytest.raises(ParameterError):
            new.parse_hmp("cpr-exec-command", text)
    for value in ("qemu", ["qemu", 1]):
        assert refusal(new, {"cpr-exec-command": value}).name == "cpr-exec-command"
    assert refusal(new, {"x-rdma-chunk-size": 3 << 20}).name == "x-rdma-chunk-size"
    assert refusal(new, {"x-rdma-chunk-size": 2 << 30}).name == "x-rdma-chunk-size"


def test_rows_say_enough_for_tables():
    row = find("xbzrle-cache-size")
    assert (row.minimum, row.maximum, row.power_of_two) == (4096, TOP, True)
    assert row.type.qmp_type == "size"
    assert row.error_name == "xbzrle_cache_size"
    assert find("x-vcpu-dirty-limit-period").error_name == "x-vcpu-dirty-limit-period"
    assert find("mode").choices() == (MigMode.NORMAL, MigMode.CPR_REBOOT, MigMode.CPR_TRANSFER)
    assert find("direct-io").choices() == (False, True)
    assert find("tls-creds").choices() == ()
    assert find("tls-creds").minimum is find("tls-creds").maximum is None
    assert not find("tls-creds").power_of_two
    assert [row.name for row in parameters_of() if row.unstable] == [
        "x-checkpoint-delay",
        "x-vcpu-dirty-limit-period",
    ]
    for row in PARAMETERS:
        assert row.doc
        assert row.type.expected()
        assert Release.parse(row.since) <= Release.V11_1


def test_words_for_ranges():
    assert find("vcpu-dirty-limit").type.expected() == "a whole number of at least 1"
    assert find("max-bandwidth").type.expected() == "a whole number below 2^64"
    assert find("xbzrle-cache-size").type.expected() == "a power of two of at least 4096"
    assert find("cpu-throttle-initial").type.expected() == "a whole number from 1 to 99"
    assert find("zero-page-detection").type.expected() == "none, legacy or multifd"
