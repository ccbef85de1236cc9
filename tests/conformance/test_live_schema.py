"""The schema, the list of commands and the classes of errors are those of a real QEMU 10.0."""

from __future__ import annotations

import pytest

from migsim.monitor.introspection import describe
from migsim.monitor.vocabulary import vocabulary
from migsim.qapi.release import Release

pytestmark = pytest.mark.live


def _structure(entities):
    """Return the schema with all types spelled out to a depth, so that numbers do not matter."""
    by_name = {entity["name"]: entity for entity in entities}

    def shape(name, depth):
        entity = by_name[name]
        kind = entity["meta-type"]
        if depth == 0 or kind == "builtin":
            return kind if kind != "builtin" else name
        if kind == "array":
            return [shape(entity["element-type"], depth - 1)]
        if kind == "enum":
            return sorted((m["name"], *m.get("features", ())) for m in entity["members"])
        if kind == "alternate":
            return [shape(m["type"], depth - 1) for m in entity["members"]]
        members = sorted(
            (m["name"], "default" in m, tuple(m.get("features", ())), m["type"])
            for m in entity["members"]
        )
        return {
            "tag": entity.get("tag"),
            "features": entity.get("features"),
            "members": [(*m[:3], shape(m[3], depth - 1)) for m in members],
            "cases": {v["case"]: shape(v["type"], depth - 1) for v in entity.get("variants", ())},
        }

    found = {}
    for entity in entities:
        if entity["meta-type"] in ("command", "event"):
            found[entity["name"]] = (
                entity.get("allow-oob"),
                entity.get("features"),
                shape(entity["arg-type"], 4),
                shape(entity["ret-type"], 4) if "ret-type" in entity else None,
            )
    return found


def test_schema(qemu):
    real = _structure(qemu("-machine", "none")("query-qmp-schema"))
    ours = _structure(describe(Release.DEFAULT, frozenset(vocabulary().commands)))
    assert ours.keys() == real.keys()
    for name, wanted in real.items():
        assert ours[name] == wanted, name
