"""The published description of the wire: complete, consistent, and up to date."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingress.disconnects import DISCONNECTS
from ingress.wire.asyncapi import document, text
from ingress.wire.pictures import FRAME_HEADER_BYTES, RESULT_HEADER_BYTES, Frame, encode_frame
from ingress.wire.replies import SERVER_MESSAGES
from ingress.wire.requests import CLIENT_MESSAGES
from ingress.wire.text import type_of
from ingress.wire.words import Dialect, DropCause, ErrorCode
from models.view import View

COMMITTED = Path(__file__).parents[3] / "docs" / "asyncapi.json"
DOCUMENT = document()


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def resolve(reference: str) -> Any:
    assert reference.startswith("#/")
    value: Any = DOCUMENT
    for part in reference[2:].split("/"):
        value = value[part]
    return value


def names_in(channel: str, action: str) -> set[str]:
    """The ``name`` of each message of the operations with that action."""
    return {
        resolve(resolve(message["$ref"])["$ref"])["name"]
        for operation in DOCUMENT["operations"].values()
        if operation["action"] == action and operation["channel"]["$ref"] == f"#/channels/{channel}"
        for message in operation["messages"]
    }


def test_the_committed_document_is_the_generated_one() -> None:
    assert COMMITTED.read_text() == text()


def test_it_has_the_structure_of_asyncapi_3() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    for channel in DOCUMENT["channels"].values():
        assert isinstance(channel["address"], str)
        assert channel["messages"]
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = resolve(operation["channel"]["$ref"])
        for message in operation["messages"]:
            assert resolve(message["$ref"]) in channel["messages"].values()
    known = {"asyncapi", "info", "defaultContentType", "channels", "operations", "components"}
    assert {key for key in DOCUMENT if not key.startswith("x-")} == known


def test_every_reference_resolves() -> None:
    references = [node["$ref"] for node in nodes(DOCUMENT) if "$ref" in node]
    assert references
    for reference in references:
        assert isinstance(resolve(reference), dict)


@pytest.mark.parametrize("dialect", Dialect)
def test_every_message_is_described_where_it_is_spoken(dialect: Dialect) -> None:
    binary = {Dialect.PLAIN: set(), Dialect.V1: {"frame"}}[dialect]
    received = {type_of(model) for model in CLIENT_MESSAGES[dialect]} | binary
    assert names_in(dialect, "receive") == received
    results = {Dialect.PLAIN: set(), Dialect.V1: {"result"}}[dialect]
    sent = {type_of(model) for model in SERVER_MESSAGES[dialect]} | results
    assert names_in(dialect, "send") == sent


def test_every_code_and_cause_is_listed() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["ErrorCode"]["enum"] == list(ErrorCode)
    assert schemas["DropCause"]["enum"] == list(DropCause)


@pytest.mark.parametrize("name", DISCONNECTS)
def test_every_reason_is_listed_with_its_code(name: str) -> None:
    listed = {row["reason"]: row["code"] for row in DOCUMENT["x-close-codes"]["reasons"]}
    assert listed[name] == DISCONNECTS[name].code


@pytest.mark.parametrize(
    ("message", "size"), [("Frame", FRAME_HEADER_BYTES), ("Result", RESULT_HEADER_BYTES)]
)
def test_a_binary_header_is_described_without_gaps(message: str, size: int) -> None:
    offset = 0
    for field in DOCUMENT["components"]["messages"][message]["x-binary"]["header"]:
        assert field["offset"] == offset
        offset += int(field["type"][1:]) // 8
    assert offset == size


def test_a_reader_of_the_document_can_read_a_frame() -> None:
    sent = encode_frame(Frame(seq=7, ack=3, captured_us=2**40, image=b""))
    codes = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q"}
    header = DOCUMENT["components"]["messages"]["Frame"]["x-binary"]["header"]
    read = {f["name"]: struct.unpack_from(codes[f["type"]], sent, f["offset"])[0] for f in header}
    assert read == {
        "version": 1, "kind": 1, "flags": 0, "seq": 7, "ack": 3, "captured_us": 2**40,
    }  # fmt: skip


def test_the_settings_are_those_of_a_view() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert set(schemas["View"]["properties"]) == set(View.model_fields)
    assert "required" not in schemas["View"]  # any part of a view may be sent
    for name, field in (("UpdateViz", "settings"), ("VizUpdated", "settings"), ("Welcome", "viz")):
        assert schemas[name]["properties"][field] == {"$ref": "#/components/schemas/View"}


def test_it_names_nothing_of_the_code() -> None:
    assert not any(word in json.dumps(DOCUMENT) for word in ("ingress.", "models.", ".py", "``"))
