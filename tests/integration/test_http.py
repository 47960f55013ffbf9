"""The HTTP side: the page, one picture at a time, health, metrics."""

from __future__ import annotations

import functools
import http.client
import json
import re
import subprocess
import urllib.error
import urllib.request
from contextlib import closing

import cv2
import pytest

from models.catalog import MODES
from models.view import View
from tests.integration.leaks import leaks
from tests.integration.pictures import astronaut, decoded, jpeg, read
from tests.integration.v1_client import v1
from tests.serve_app import ServeApp
from tests.tools import tool

pytestmark = pytest.mark.integration

PICTURE = jpeg(astronaut())
MEDIA_TYPES = {
    "mask": "image/png",
    "alpha": "image/png",
    "overlay": "image/jpeg",
    "none": "application/json",
}


def post(server: ServeApp, query: str, body: bytes = PICTURE) -> tuple[int, str, bytes]:
    """Status, media type and body of a POST as curl --data-binary makes it."""
    request = urllib.request.Request(f"{server.http}api/segment?{query}", data=body, method="POST")
    request.add_header("content-type", "application/x-www-form-urlencoded")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.headers["content-type"], response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read()


def test_the_page_and_its_parts_are_served(server: ServeApp) -> None:
    assert b"SegStream" in server.get("")
    assert b"segstream.v1" in server.get("web/stream.js")


@pytest.mark.parametrize(("path", "status"), [("health", "ok"), ("ready", "ready")])
def test_probers_are_answered_at_once_with_and_without_a_body(
    server: ServeApp, path: str, status: str
) -> None:
    assert server.server.wait_until_ready(server.http + path)  # nobody may have asked for long
    assert json.loads(server.get(path))["status"] == status
    request = urllib.request.Request(server.http + path, method="HEAD")
    with urllib.request.urlopen(request, timeout=30) as response:
        assert (response.status, response.read()) == (200, b"")


def test_without_a_configured_token_nobody_sees_the_sessions(server: ServeApp) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.get("api/sessions")
    assert refused.value.code == 403
    assert b"operator_token_sha256" in refused.value.read()


def test_modes_are_those_of_the_catalogue(server: ServeApp) -> None:
    modes = json.loads(server.get("api/modes"))
    assert {mode["name"]: tuple(mode["labels"]) for mode in modes} == {
        name: spec.labels for name, spec in MODES.items()
    }


def test_a_picture_gives_a_mask(server: ServeApp) -> None:
    status, media_type, body = post(server, "")
    assert (status, media_type) == (200, "image/png")
    assert decoded(body).shape == (512, 512)


def test_a_body_in_chunks_of_unknown_length_is_taken(server: ServeApp) -> None:
    connection = http.client.HTTPConnection(server.http.split("/")[2], timeout=60)
    with closing(connection):
        chunks = (PICTURE[i : i + 10_000] for i in range(0, len(PICTURE), 10_000))
        headers = {"content-type": "image/jpeg"}
        connection.request("POST", "/api/segment", chunks, headers, encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, decoded(response.read()).shape) == (200, (512, 512))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("output", MEDIA_TYPES)
def test_every_output_of_every_mode(server: ServeApp, mode: str, output: str) -> None:
    status, media_type, body = post(server, f"mode={mode}&output={output}")
    assert (status, media_type) == (200, MEDIA_TYPES[output])
    if output == "none":
        meta = json.loads(body)
        assert (meta["mode"], meta["width"], meta["height"]) == (mode, 512, 512)
        assert {found["label"] for found in meta["classes"]} <= set(MODES[mode].labels[1:])
        assert meta["classes"]
    else:
        assert read(body, cv2.IMREAD_UNCHANGED).shape[:2] == (512, 512)


@pytest.mark.parametrize(
    ("query", "media_type"),
    [
        ("output=overlay&format=webp&quality=50&max_side=128", "image/webp"),
        ("output=overlay&visualization_mode=replace&background=%23ff8800", "image/jpeg"),
        ("output=overlay&overlay_opacity=0.3&colormap=turbo", "image/jpeg"),
        ("output=mask&mode=parts&class_filter=1,4", "image/png"),
    ],
)
def test_every_setting_of_a_view_is_a_parameter(
    server: ServeApp, query: str, media_type: str
) -> None:
    status, given, body = post(server, query)
    assert (status, given) == (200, media_type)
    assert read(body, cv2.IMREAD_UNCHANGED).size


@pytest.mark.parametrize(
    ("query", "body", "status", "words"),
    [
        ("mode=persn", PICTURE, 404, 'did you mean "person"'),
        ("overlay_opacity=7", PICTURE, 422, "overlay_opacity"),
        ("class_filter=hair", PICTURE, 422, "class_filter"),
        ("class_filter=4", PICTURE, 422, "0 to 1"),
        (f"class_filter={'9' * 5000}", PICTURE, 422, "class_filter"),
        ("qualty=3", PICTURE, 422, 'did you mean "quality"'),
        ("", b"", 400, "no picture"),
        ("", b"no picture at all", 422, "JPEG"),
        ("", bytes(5 * 1024 * 1024), 413, "at most"),
        ("", bytes(15 * 1024 * 1024), 413, "at most"),
        ("mode=persn", bytes(4 * 1024 * 1024), 404, 'did you mean "person"'),
        ("qualty=3", bytes(4 * 1024 * 1024), 422, 'did you mean "quality"'),
    ],
)
def test_refusals_say_what_was_wrong(
    server: ServeApp, query: str, body: bytes, status: int, words: str
) -> None:
    given, media_type, answer = post(server, query, body)
    assert (given, media_type) == (status, "application/json")
    message = json.loads(answer)["error"]["message"]
    assert words in message
    assert not leaks(message)


def test_a_picture_that_declares_far_too_many_bytes_is_refused_before_they_come(
    server: ServeApp,
) -> None:
    connection = http.client.HTTPConnection(server.http.split("/")[2], timeout=60)
    with closing(connection):
        connection.putrequest("POST", "/api/segment")
        connection.putheader("content-length", str(2**30))
        connection.endheaders()
        response = connection.getresponse()
        message = json.loads(response.read())["error"]["message"]
    assert (response.status, response.getheader("content-type")) == (413, "application/json")
    assert "at most" in message
    assert not leaks(message)


def test_openapi_documents_every_parameter(server: ServeApp) -> None:
    document = json.loads(server.get("openapi.json"))
    operation = document["paths"]["/api/segment"]["post"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert names == {"mode", *View.model_fields}
    assert {"image/jpeg", "image/png", "image/webp"} <= operation["requestBody"]["content"].keys()
    assert {"200", "400", "404", "413", "422", "503"} <= operation["responses"].keys()


def test_every_reference_in_the_openapi_document_leads_somewhere(server: ServeApp) -> None:
    document = json.loads(server.get("openapi.json"))
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))
    assert references
    for reference in references:
        assert functools.reduce(dict.__getitem__, reference.split("/"), document)


async def test_metrics_count_what_was_done(server: ServeApp) -> None:
    def counted() -> dict[str, float]:
        return {
            "results": server.metric("segstream_frames_total", mode="person", outcome="result"),
            "errors": server.metric("segstream_frames_total", mode="person", outcome="error"),
            "ages": server.metric("segstream_frame_age_seconds_count", mode="person"),
            "batched": server.metric("segstream_batch_frames_sum", mode="person"),
            "frames in": server.metric("segstream_ws_messages_total", type="frame"),
            "connections": server.metric("segstream_ws_connections_total"),
        }

    before = counted()
    async with v1(server.ws) as client:
        for _ in range(3):
            await client.mask(PICTURE)
        await client.outcome(await client.send(b"no picture"))
    after = counted()
    assert {name: after[name] - before[name] for name in before} == {
        "results": 3, "errors": 1, "ages": 3, "batched": 4, "frames in": 4, "connections": 1,
    }  # fmt: skip


def test_promtool_has_nothing_to_say_about_the_metrics(server: ServeApp) -> None:
    command = [tool("promtool", package="prometheus"), "check", "metrics"]
    done = subprocess.run(command, input=server.get("metrics"), capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
