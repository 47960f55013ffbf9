"""The studio page in a real browser, against a server without a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from client import End
from client.reconnect import delay_s
from ingress.disconnects import DISCONNECTS, Advice, advice_for
from ingress.wire.replies import Dropped, Error, ServerMessage, ServerPing
from ingress.wire.words import DropCause, ErrorCode
from models.catalog import MODES
from tests.e2e.conftest import ASTRONAUT, Visit
from tests.e2e.fake_server import FakeServer

pytestmark = pytest.mark.e2e

Open = Callable[..., Visit]

DEFAULT_BACKGROUND = (0, 177, 64)
POLICY_OF_ADVICE = {
    Advice.NEVER: "stop",
    Advice.ON_USER_ACTION: "stop",
    Advice.BACK_OFF: "backoff",
    Advice.AT_ONCE: "now",
    Advice.JITTERED: "backoff",
    Advice.CLIENTS_CHOICE: "stop",
    Advice.IN_WINDOW: "window",
    Advice.WITH_NEW_TOKEN: "now",
}
# Every row of the table, what stands for a lost connection, and codes of no row in every range.
CODES = sorted(
    {row.code for row in DISCONNECTS.values() if row.code is not None}
    | {1000, 1001, 1003, 1005, 1006, 1007, 1010, 1014, 3001, 4003, 4099, 4100, 4199, 4200, 4299}
    | {4300, 4999}
)
WINDOW_MS = (400, 7_000)
POLICIES = """async codes => {
  const { policyOf } = await import("/web/reconnect.js");
  return codes.map(policyOf);
}"""
DELAYS = """async ([codes, failures, window]) => {
  const { retryDelay } = await import("/web/reconnect.js");
  const ends = (code, count) => [0, 1].map(end => retryDelay(code, count, window, () => end));
  return codes.map(code => failures.map(count => ends(code, count)));
}"""

AFTER_ANIMATION_FRAMES = """count => new Promise(done => requestAnimationFrame(function tick() {
  if (count-- > 0) requestAnimationFrame(tick); else done();
}))"""


def choose(visit: Visit, group: str, value: str) -> None:
    """Choose one radio button of the panel."""
    visit.page.locator(f'input[name="{group}"][value="{value}"]').check(force=True)


def running(open_page: Open, server: FakeServer, query: str = "", **size: int) -> Visit:
    """A page that streams the sample clip."""
    visit = open_page(f"{server.url}?autostart=1{query}", **size)
    visit.wait_for_results(1)
    return visit


# -- loading ---------------------------------------------------------------------


def test_page_loads_without_errors_or_other_hosts(visit: Open, fake_server: FakeServer) -> None:
    page = visit(fake_server.url)
    page.wait_for_data("state", "live")
    page.page.wait_for_load_state("networkidle")
    assert page.console_errors == []
    assert page.hosts == {"127.0.0.1"}
    assert page.page.get_by_role("button", name="Start").first.is_visible()


def test_nothing_is_sent_before_start(visit: Open, fake_server: FakeServer) -> None:
    page = visit(fake_server.url)
    page.wait_for_data("state", "live")
    page.page.evaluate(AFTER_ANIMATION_FRAMES, 10)
    assert fake_server.frames == 0


def test_modes_of_the_welcome_are_offered(visit: Open, fake_server: FakeServer) -> None:
    page = visit(fake_server.url)
    page.wait_for_data("mode", "person")
    offered = page.page.locator("#modes b").all_text_contents()
    assert offered == [spec.title for spec in MODES.values()]


@pytest.mark.parametrize("width", [380, 820, 1280])
def test_page_never_scrolls_sideways(visit: Open, fake_server: FakeServer, width: int) -> None:
    page = running(visit, fake_server, "&mode=parts", width=width, height=800)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width


# -- streaming -------------------------------------------------------------------


def test_start_on_the_sample_clip_yields_results(visit: Open, fake_server: FakeServer) -> None:
    page = visit(fake_server.url)
    page.page.locator("#begin").click()
    page.wait_for_results(10)
    page.page.wait_for_function("() => Number(document.body.dataset.fps) > 0")
    assert page.data("running") == "true"
    assert page.console_errors == []


def test_stop_ends_the_frames_and_acknowledges_the_last_result(
    visit: Open, fake_server: FakeServer
) -> None:
    page = running(visit, fake_server)
    page.page.get_by_role("button", name="Stop").click()
    fake_server.wait_for(lambda server: server.acked == server.frames)
    assert page.data("running") == "false"


def test_unanswered_frames_are_bounded_and_a_drop_makes_room(visit: Open) -> None:
    with FakeServer(max_in_flight=3, answers_frames=False) as server:
        page = visit(f"{server.url}?autostart=1")
        server.wait_for(lambda server: server.frames == 3)
        page.page.evaluate(AFTER_ANIMATION_FRAMES, 20)
        assert server.frames == 3
        server.send_all(Dropped(frames=(1, 2), cause=DropCause.SUPERSEDED))
        server.wait_for(lambda server: server.frames == 5)
        page.page.wait_for_function("() => document.getElementById('dropped').textContent === '2'")


def test_rejected_frame_is_explained_and_makes_room(visit: Open) -> None:
    with FakeServer(max_in_flight=1, answers_frames=False) as server:
        page = visit(f"{server.url}?autostart=1")
        server.wait_for(lambda server: server.frames == 1)
        code = ErrorCode.FRAME_REJECTED
        server.send_all(Error(code=code, message="too many pixels", frame_seq=1))
        server.wait_for(lambda server: server.frames == 2)
        assert page.page.locator(".toast code").inner_text() == "FRAME_REJECTED"
        assert page.page.locator(".toast p").inner_text() == "too many pixels"


def test_camera_is_streamed(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server, "&source=camera")
    page.wait_for_results(5)
    assert page.console_errors == []


def test_refused_camera_is_explained(visit: Open, fake_server: FakeServer) -> None:
    page = visit(fake_server.url)
    page.page.evaluate(
        """() => { navigator.mediaDevices.getUserMedia = async () => {
             throw new DOMException("", "NotAllowedError"); }; }"""
    )
    choose(page, "source", "camera")
    page.page.locator("#begin").click()
    words = page.page.locator(".toast").inner_text()
    assert "no permission to use the camera" in words
    assert "Allow it" in words
    assert page.data("running") == "false"


def test_picture_file_is_streamed(visit: Open, fake_server: FakeServer) -> None:
    page = visit(fake_server.url)
    page.page.locator("#file").set_input_files(ASTRONAUT)
    page.wait_for_results(3)
    assert page.page.locator("#caption").inner_text() == "astronaut.png"


def test_unreadable_file_is_explained(visit: Open, fake_server: FakeServer, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    page = visit(fake_server.url)
    page.page.locator("#file").set_input_files(broken)
    assert "broken.png is not a picture" in page.page.locator(".toast").inner_text()


# -- settings --------------------------------------------------------------------


def test_change_of_mode_is_asked_for_and_confirmed(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server)
    choose(page, "mode", "parts")
    page.wait_for_data("mode", "parts")
    assert fake_server.of_type("change_mode")[0]["model_mode"] == "parts"
    assert page.page.locator(".chip").all_inner_texts() == [
        "Hair", "Body skin", "Face skin", "Clothes", "Others",
    ]  # fmt: skip


def test_refused_mode_leaves_the_old_one(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server, "&mode=nonsense")
    assert "INVALID_MODE" in page.page.locator(".toast").inner_text()
    assert page.data("mode") == "person"


@pytest.mark.parametrize("look", ["contour", "side-by-side", "blend", "cutout", "blur", "replace"])
def test_visualisation_is_sent(visit: Open, fake_server: FakeServer, look: str) -> None:
    page = running(visit, fake_server)
    choose(page, "look", look)
    fake_server.wait_for(lambda server: bool(server.settings()))
    assert fake_server.settings()[0]["visualization_mode"] == look


def test_class_filter_follows_the_chips(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server, "&mode=parts")
    page.wait_for_data("mode", "parts")
    hair = page.page.get_by_role("button", name="Hair")
    hair.click()
    fake_server.wait_for(lambda server: {"class_filter": [2, 3, 4, 5]} in server.settings())
    assert hair.get_attribute("aria-pressed") == "false"
    hair.click()
    fake_server.wait_for(lambda server: {"class_filter": None} in server.settings())


def test_last_position_of_a_slider_arrives(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server)
    page.page.evaluate(
        """() => { const opacity = document.getElementById("opacity");
             for (const value of [0.1, 0.2, 0.3, 0.35]) {
               opacity.value = value;
               opacity.dispatchEvent(new Event("input", { bubbles: true }));
             } }"""
    )
    fake_server.wait_for(lambda server: {"overlay_opacity": 0.35} in server.settings())


def test_link_sets_mode_and_visualisation(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server, "&mode=salient&viz=contour")
    page.wait_for_data("mode", "salient")
    assert fake_server.settings() == [{"visualization_mode": "contour"}]


def test_choice_of_mode_keeps_the_keyboard_focus(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server)
    page.page.locator('input[name="mode"][value="person"]').focus()
    page.page.keyboard.press("ArrowDown")
    page.wait_for_data("mode", "person-wide")
    page.page.keyboard.press("ArrowDown")
    page.wait_for_data("mode", "parts")


def test_statistics_are_shown_and_their_failure_is_no_alarm(
    visit: Open, fake_server: FakeServer
) -> None:
    page = running(visit, fake_server)
    facts = page.page.locator("#facts")
    facts.get_by_text("Mask stability 97 % · 1 session · 3 replicas").wait_for()
    failed = ErrorCode.STATS_FAILED
    fake_server.send_all(Error(code=failed, message="no statistics at the moment"))
    facts.get_by_text("no statistics at the moment").wait_for()
    assert page.page.locator(".toast").count() == 0


# -- masks drawn in the browser --------------------------------------------------


def test_bilevel_mask_is_drawn_in_the_browser(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server, "&draw=browser&viz=replace")
    assert {"output": "mask", "visualization_mode": "replace"} in fake_server.settings()
    page.wait_for_results(10)
    assert page.pixel(0.02, 0.02) == DEFAULT_BACKGROUND
    assert page.pixel(0.5, 0.95) != DEFAULT_BACKGROUND
    assert page.page.evaluate("document.getElementById('view').width") == 960


def test_palette_mask_keeps_the_colours_of_its_classes(
    visit: Open, fake_server: FakeServer
) -> None:
    page = running(visit, fake_server, "&draw=browser&viz=filled&mode=parts")
    page.wait_for_data("mode", "parts")
    page.page.locator("#opacity").fill("1")
    page.wait_for_results(10)
    assert page.pixel(0.5, 0.95) == MODES["parts"].palette[5]
    assert page.pixel(0.5, 0.7) == MODES["parts"].palette[4]


# -- the end of a connection -----------------------------------------------------


def end_by_restart(server: FakeServer) -> None:
    server.close_all(1012, "server_shutdown")


@pytest.mark.parametrize("end", [end_by_restart, FakeServer.cut_all], ids=["restart", "loss"])
def test_lost_session_is_resumed(
    visit: Open, fake_server: FakeServer, end: Callable[[FakeServer], None]
) -> None:
    page = running(visit, fake_server, "&mode=parts&viz=contour")
    page.wait_for_data("mode", "parts")
    fake_server.wait_for(lambda server: bool(server.settings() and server.of_type("ack")))
    acks = len(fake_server.of_type("ack"))
    for turn in (1, 2):
        end(fake_server)
        page.wait_for_data("resumes", str(turn))
        page.wait_for_results(5)
    assert "the session goes on" in page.page.locator("#banner").inner_text()
    assert page.data("state") == "live"
    hellos = [hello["resume"] for hello in fake_server.of_type("hello")[1:]]
    assert [(hello["session"], hello["token"]) for hello in hellos] == [("s1", "t1"), ("s1", "t2")]
    assert 0 < hellos[0]["last_seq"] < hellos[1]["last_seq"]
    assert hellos[0]["last_control"] >= 3  # mode, view, statistics
    assert len(fake_server.of_type("ack")) >= acks + 2
    assert page.data("mode") == "parts"
    assert page.page.locator('input[name="look"][value="contour"]').is_checked()
    # It all goes on: nothing is asked for again.
    assert len(fake_server.of_type("change_mode")) == 1
    assert len(fake_server.settings()) == 1
    assert len(fake_server.of_type("subscribe_stats")) == 1
    assert page.console_errors == []


def test_request_that_was_lost_is_sent_again(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server)
    fake_server.deaf = True
    choose(page, "look", "contour")
    choose(page, "mode", "parts")
    fake_server.cut_all()
    fake_server.deaf = False
    page.wait_for_data("mode", "parts")
    page.wait_for_data("resumes", "1")
    page.wait_for_results(3)
    assert [each["visualization_mode"] for each in fake_server.settings()] == ["contour"]
    assert len(fake_server.of_type("change_mode")) == 1


def test_reply_that_was_lost_comes_with_the_resume(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server)
    fake_server.mute = True
    choose(page, "mode", "parts")
    choose(page, "look", "blur")
    fake_server.wait_for(lambda server: bool(server.of_type("change_mode") and server.settings()))
    fake_server.cut_all()
    fake_server.mute = False
    page.wait_for_data("mode", "parts")
    page.wait_for_data("resumes", "1")
    page.wait_for_results(3)
    assert page.page.locator('input[name="look"][value="blur"]').is_checked()
    assert len(fake_server.of_type("change_mode")) == 1
    assert len(fake_server.settings()) == 1
    assert page.page.locator(".toast").count() == 0


def test_choice_made_while_away_is_made_on_return(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server, "&mode=parts")
    page.wait_for_data("mode", "parts")
    fake_server.close_all(1013, "overloaded")
    page.wait_for_data("state", "reconnecting")
    choose(page, "look", "cutout")
    choose(page, "mode", "salient")
    page.wait_for_data("mode", "salient")
    fake_server.wait_for(lambda server: bool(server.settings()))
    assert fake_server.settings()[0]["visualization_mode"] == "cutout"


def test_new_session_is_brought_to_what_was_chosen(visit: Open, fake_server: FakeServer) -> None:
    fake_server.keeps_sessions = False
    page = running(visit, fake_server, "&mode=parts&viz=contour")
    page.wait_for_data("mode", "parts")
    page.page.get_by_role("button", name="Hair").click()
    wanted = {"visualization_mode": "contour", "class_filter": [2, 3, 4, 5]}
    fake_server.wait_for(lambda server: merged(server.settings()).items() >= wanted.items())
    before = len(fake_server.settings())
    fake_server.cut_all()
    fake_server.wait_for(
        lambda server: merged(server.settings()[before:]).items() >= wanted.items()
    )
    page.wait_for_data("mode", "parts")
    page.wait_for_results(3)
    assert page.data("resumes") == "0"
    assert "in a new session" in page.page.locator("#banner").inner_text()
    assert page.page.get_by_role("button", name="Hair").get_attribute("aria-pressed") == "false"
    assert page.console_errors == []


def merged(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """What a view has after all of them."""
    return {key: value for each in settings for key, value in each.items()}


class News(ServerMessage):
    """What only a newer server says."""

    type: Literal["news"] = "news"


def test_message_of_a_newer_server_is_ignored(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server)
    fake_server.send_all(News())
    page.wait_for_results(5)
    assert page.console_errors == []


def test_gap_among_control_messages_ends_the_connection(
    visit: Open, fake_server: FakeServer
) -> None:
    page = running(visit, fake_server)
    fake_server.send_all(News(control_seq=99))
    page.wait_for_data("state", "closed")
    assert "do not speak the same protocol" in page.page.locator("#banner").inner_text()


def test_replaced_session_does_not_come_back(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server)
    fake_server.close_all(4002, "replaced")
    page.wait_for_data("state", "closed")
    assert page.page.locator("#banner").inner_text() == "This session was opened in another window."
    page.page.evaluate(AFTER_ANIMATION_FRAMES, 30)
    assert len(fake_server.of_type("hello")) == 1


def test_closed_page_connects_again_when_asked(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server)
    fake_server.close_all(4002, "replaced")
    page.page.get_by_role("button", name="Connect now").click()
    page.wait_for_results(3)
    assert "resume" not in fake_server.of_type("hello")[1]


def test_full_server_is_waited_for(visit: Open, fake_server: FakeServer) -> None:
    page = running(visit, fake_server)
    fake_server.close_all(1013, "overloaded")
    page.wait_for_data("state", "reconnecting")
    assert "Reconnecting in" in page.page.locator("#pill").inner_text()
    page.page.get_by_role("button", name="Connect now").click()
    page.wait_for_data("state", "live")


def test_silent_server_is_left(visit: Open) -> None:
    with FakeServer(heartbeat_s=0.3) as server:
        running(visit, server)
        server.mute = True
        server.wait_for(lambda server: len(server.of_type("hello")) == 2)


def test_ping_is_answered(visit: Open, fake_server: FakeServer) -> None:
    visit(fake_server.url).wait_for_data("state", "live")
    fake_server.send_all(ServerPing(t=12.5))
    fake_server.wait_for(lambda server: [pong["t"] for pong in server.of_type("pong")] == [12.5])


def test_close_codes_mean_the_same_to_page_and_server(visit: Open, fake_server: FakeServer) -> None:
    policies = visit(fake_server.url).page.evaluate(POLICIES, CODES)
    assert dict(zip(CODES, policies, strict=True)) == {
        code: POLICY_OF_ADVICE[advice_for(code)] for code in CODES
    }


def test_page_and_python_client_wait_alike(visit: Open, fake_server: FakeServer) -> None:
    failures = list(range(9))
    delays = visit(fake_server.url).page.evaluate(DELAYS, [CODES, failures, WINDOW_MS])

    def both_ends(code: int, count: int) -> list[float | None]:
        end = End(code, "", WINDOW_MS)
        drawn = [delay_s(end, count, min), delay_s(end, count, max)]
        return [None if each is None else each * 1000 for each in drawn]

    assert dict(zip(CODES, delays, strict=True)) == {
        code: [pytest.approx(both_ends(code, count)) for count in failures] for code in CODES
    }
