"""The vocabulary of QMP: described, checked and answered from one table."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from vms import MachineConfig, make

from migsim.monitor.commands import COMMANDS
from migsim.monitor.errors import QmpError
from migsim.monitor.introspection import describe
from migsim.monitor.typecheck import check
from migsim.monitor.vocabulary import vocabulary
from migsim.qapi.release import Release
from migsim.vm import VM

RELEASES = (Release.V8_2, Release.V10_0, Release.V11_1)
TOOLS = Path(__file__).parents[3] / "tools"


@pytest.fixture
def vm():
    with make() as machine:
        yield machine


def schema(vm: VM) -> dict[str, dict]:
    return {entity["name"]: entity for entity in vm.qmp("query-qmp-schema")["return"]}


@pytest.mark.parametrize("release", RELEASES, ids=str)
def test_every_name_in_the_schema_is_described(release):
    entities = describe(release, frozenset(COMMANDS))
    names = {entity["name"] for entity in entities}
    used = set()
    for entity in entities:
        used |= {entity[k] for k in ("arg-type", "ret-type", "element-type") if k in entity}
        parts = entity.get("members", []) if entity["meta-type"] != "enum" else []
        used |= {part["type"] for part in [*parts, *entity.get("variants", [])]}
    assert used <= names
    assert len(names) == len(entities)


def test_schema_and_list_of_commands_agree(vm):
    listed = {row["name"] for row in vm.qmp("query-commands")["return"]}
    described = {n for n, entity in schema(vm).items() if entity["meta-type"] == "command"}
    assert listed == described


@pytest.mark.parametrize("release", RELEASES, ids=str)
def test_migration_types_are_those_of_the_release(release):
    with VM(MachineConfig(release=release)) as machine:
        entities = schema(machine)
        takes = entities[entities["migrate-set-parameters"]["arg-type"]]
        queried = set(machine.qmp("query-migrate-parameters")["return"])
        assert queried <= {member["name"] for member in takes["members"]}
        modes = {member["name"]: member["type"] for member in takes["members"]}["mode"]
        assert ("cpr-exec" in entities[modes]["values"]) is (release >= Release.V11_1)
        entry = entities[
            entities[entities["migrate-set-capabilities"]["arg-type"]]["members"][0]["type"]
        ]
        capability = entities[entities[entry["element-type"]]["members"][0]["type"]]
        asked = machine.qmp("query-migrate-capabilities")["return"]
        assert capability["values"] == [row["capability"] for row in asked]


def test_masks_tags_and_marks(vm):
    entities = schema(vm)
    channel = entities[entities[entities["migrate"]["arg-type"]]["members"][1]["type"]]
    assert channel["meta-type"] == "array"
    assert channel["name"] == f"[{channel['element-type']}]"
    address = entities[entities[channel["element-type"]]["members"][1]["type"]]
    assert address["tag"] == "transport"
    assert {v["case"] for v in address["variants"]} == {"socket", "exec", "rdma", "file"}
    assert entities["migrate-recover"]["allow-oob"] is True
    assert "allow-oob" not in entities["migrate"]
    assert entities["query-migrationthreads"]["features"] == ["deprecated"]
    assert entities["int"] == {"name": "int", "meta-type": "builtin", "json-type": "int"}


def _needs_nothing(name: str) -> bool:
    takes = vocabulary().type(vocabulary().commands[name].takes)
    return all(member.optional for member in takes.members.values())


@pytest.mark.parametrize(
    "name", [n for n in COMMANDS if _needs_nothing(n) and n.startswith(("query", "qom"))]
)
def test_answers_are_of_the_described_type(vm, name):
    reply = vm.qmp(name)
    if "return" in reply:
        check(vocabulary(), vocabulary().commands[name].returns, reply["return"], name, more=False)
    else:
        assert reply["error"]["class"] in ("GenericError", "DeviceNotActive")


@pytest.mark.parametrize("name", [n for n in COMMANDS if not COMMANDS[n].more])
def test_unknown_arguments_are_refused(vm, name):
    assert vm.qmp(name, {"no-such-argument": 1})["error"]["class"] == "GenericError"
    assert vm.exited is None


@pytest.mark.parametrize("name", [n for n in COMMANDS if not _needs_nothing(n)])
def test_missing_arguments_are_refused(vm, name):
    reply = vm.qmp(name)
    assert reply["error"]["class"] == "GenericError"
    assert "is missing" in reply["error"]["desc"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", True),
        ("int", 1.0),
        ("int", 1 << 64),
        ("int", -(1 << 63) - 1),
        ("str", None),
        ("bool", 0),
        ("number", "1"),
        ("RunState", "sleeping"),
        ("RunState", ["running"]),
        ("[int]", [1, "2"]),
        ("[int]", {}),
        ("MigrateSetParameters.tls-creds", 5),
        ("migrate", []),
    ],
)
def test_wrong_values(kind, value):
    with pytest.raises(QmpError):
        check(vocabulary(), kind, value, "value", more=False)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", (1 << 64) - 1),
        ("int", -(1 << 63)),
        ("number", 1.5),
        ("any", {"x": [None]}),
        ("MigrateSetParameters.tls-creds", None),
        ("[int]", []),
    ],
)
def test_right_values(kind, value):
    check(vocabulary(), kind, value, "value", more=False)


def test_the_tag_chooses_the_members():
    address = {"transport": "file", "filename": "x", "offset": 0}
    check(
        vocabulary(),
        "migrate",
        {"channels": [{"channel-type": "main", "addr": address}]},
        "m",
        more=False,
    )
    for wrong in ({**address, "transport": "exec"}, {**address, "transport": "nope"}, {}):
        channels = {"channels": [{"channel-type": "main", "addr": wrong}]}
        with pytest.raises(QmpError):
            check(vocabulary(), "migrate", channels, "m", more=False)


def test_depth_does_not_matter():
    node: dict = {"driver": "file", "filename": "x"}
    for _ in range(5000):
        node = {"driver": "raw", "file": node}
    check(vocabulary(), "blockdev-add", node, "blockdev-add", more=False)


def test_jobs_of_snapshots_end_with_an_error(vm):
    vm.qmp_events()
    job = {"job-id": "j", "tag": "t", "vmstate": "d", "devices": ["d"]}
    assert vm.qmp("snapshot-save", job) == {"return": {}}
    assert [e["data"]["status"] for e in vm.qmp_events()] == [
        "created",
        "running",
        "aborting",
        "concluded",
    ]
    assert vm.qmp("query-jobs")["return"][0]["error"]
    assert "error" in vm.qmp("snapshot-save", job)
    assert "error" in vm.qmp("job-cancel", id="j")
    assert vm.qmp("job-dismiss", id="j") == {"return": {}}
    assert vm.qmp("query-jobs") == {"return": []}


def test_the_dirty_rate_is_there_when_its_time_is_over(vm):
    assert vm.qmp("query-dirty-rate")["return"]["status"] == "unstarted"
    assert vm.qmp("calc-dirty-rate", calc_time=2) == {"return": {}}
    vm.advance(1.9)
    assert vm.qmp("query-dirty-rate")["return"]["status"] == "measuring"
    assert "error" in vm.qmp("calc-dirty-rate", calc_time=1)
    vm.advance(0.1)
    answer = vm.qmp("query-dirty-rate", calc_time_unit="millisecond")["return"]
    assert (answer["status"], answer["calc-time"], answer["dirty-rate"]) == ("measured", 2000, 0)


@pytest.mark.parametrize("span", [0, 61, -1])
def test_measurements_have_a_limit(vm, span):
    assert "error" in vm.qmp("calc-dirty-rate", calc_time=span)


def test_the_page_of_commands_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    spec = importlib.util.spec_from_file_location("qmp_docs", TOOLS / "qmp_docs.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "qmp_docs", module)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text("utf-8") == module.page()
