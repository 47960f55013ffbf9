"""The HTTP side: the page, one picture at a time, health, metrics."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from models.catalog import MODES
from tests.integration.pictures import astronaut, decoded, jpeg
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

PICTURE = jpeg(astronaut())
ROOT = Path(__file__).resolve().parents[2]


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


def test_health_says_ok(server: ServeApp) -> None:
    assert json.loads(server.get("health"))["status"] == "ok"


def test_modes_are_those_of_the_catalogue(server: ServeApp) -> None:
    modes = json.loads(server.get("api/modes"))
    assert {mode["name"]: tuple(mode["labels"]) for mode in modes} == {
        name: spec.labels for name, spec in MODES.items()
    }


def test_a_picture_gives_a_mask(server: ServeApp) -> None:
    status, media_type, body = post(server, "")
    assert (status, media_type) == (200, "image/png")
    assert decoded(body).shape == (512, 512)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_answers(server: ServeApp, mode: str) -> None:
    status, _, body = post(server, f"mode={mode}&output=none")
    meta = json.loads(body)
    assert (status, meta["mode"], meta["width"], meta["height"]) == (200, mode, 512, 512)
    assert meta["classes"]


@pytest.mark.parametrize(
    ("query", "media_type"),
    [
        ("output=overlay", "image/jpeg"),
        ("output=overlay&format=webp&quality=50&max_side=128", "image/webp"),
        ("output=overlay&visualization_mode=replace&background=%23ff8800", "image/jpeg"),
        ("output=alpha", "image/png"),
        ("output=mask&mode=parts&class_filter=1,4", "image/png"),
    ],
)
def test_every_setting_of_a_view_is_a_parameter(
    server: ServeApp, query: str, media_type: str
) -> None:
    status, given, body = post(server, query)
    assert (status, given) == (200, media_type)
    assert body


@pytest.mark.parametrize(
    ("query", "body", "status", "words"),
    [
        ("mode=persn", PICTURE, 404, 'did you mean "person"'),
        ("overlay_opacity=7", PICTURE, 422, "overlay_opacity"),
        ("class_filter=hair", PICTURE, 422, "class_filter"),
        ("class_filter=4", PICTURE, 422, "0 to 1"),
        ("qualty=3", PICTURE, 422, 'did you mean "quality"'),
        ("", b"", 400, "no picture"),
        ("", b"no picture at all", 422, "JPEG"),
        ("", bytes(5 * 1024 * 1024), 413, "at most"),
    ],
)
def test_refusals_say_what_was_wrong(
    server: ServeApp, query: str, body: bytes, status: int, words: str
) -> None:
    given, media_type, answer = post(server, query, body)
    assert (given, media_type) == (status, "application/json")
    message = json.loads(answer)["error"]["message"]
    assert words in message
    assert "/" not in message


def test_openapi_documents_every_parameter(server: ServeApp) -> None:
    document = json.loads(server.get("openapi.json"))
    operation = document["paths"]["/api/segment"]["post"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert {"mode", "output", "visualization_mode", "overlay_opacity", "class_filter"} <= names
    assert "image/jpeg" in operation["requestBody"]["content"]


def test_metrics_count_what_was_done(server: ServeApp) -> None:
    assert server.metric("segstream_unhandled_exceptions_total") == 0
    assert server.metric("segstream_batch_frames_sum", mode="person") >= 1


def test_the_command_line_client_writes_a_mask(server: ServeApp, tmp_path: Path) -> None:
    picture, mask = tmp_path / "in.jpg", tmp_path / "mask.png"
    picture.write_bytes(PICTURE)
    command = [sys.executable, "-m", "client", server.ws]
    command += ["--image", str(picture), "--out", str(mask)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert decoded(mask.read_bytes()).shape == (512, 512)
