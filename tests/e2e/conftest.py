"""A real browser with a fake camera.

``browser`` is Debian's Chromium under Playwright, one per test module: the
synchronous API keeps an event loop running in this thread, which must be gone
before the next module's asyncio tests. Its camera plays a Y4M clip of a moving
portrait. ``visit`` opens one page and keeps what must stay empty: console
errors and requests to other hosts. The page's content security policy stays in
force, so ``wait_for_function`` takes functions (``() => …``), not expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.e2e.fake_server import FakeServer
from tests.tools import tool

ASTRONAUT = Path(__file__).resolve().parents[1] / "data" / "astronaut.png"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CLIP_SIZE = (480, 640)  # height, width
CLIP_FRAMES = 45
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--ignore-certificate-errors",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.example 127.0.0.1",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)

Pixels = NDArray[np.uint8]


@dataclass(slots=True)
class Visit:
    """One open page, and what it did that it must not do."""

    page: Page
    console_errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def data(self, name: str) -> str:
        """One read-only counter of the page (``document.body.dataset``)."""
        value: str = self.page.evaluate("name => document.body.dataset[name]", name)
        return value

    def wait_for_data(self, name: str, value: str) -> None:
        """Return once a counter has this value."""
        self.page.wait_for_function(
            "([name, value]) => document.body.dataset[name] === value", arg=[name, value]
        )

    def wait_for_results(self, more: int) -> None:
        """Return once ``more`` results have arrived from now on."""
        self.page.wait_for_function(
            "least => Number(document.body.dataset.results) >= least",
            arg=int(self.data("results")) + more,
        )

    def pixel(self, x: float, y: float) -> tuple[int, int, int]:
        """RGB of the stage at a relative position (0 to 1)."""
        r, g, b = self.page.evaluate(
            """([x, y]) => {
              const view = document.getElementById("view");
              const at = [x * view.width, y * view.height].map(Math.floor);
              return [...view.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3);
            }""",
            [x, y],
        )
        return r, g, b


def moving_astronaut(height: int, width: int, count: int) -> Iterator[Pixels]:
    """A loop of ``count`` frames, uint8 [height, width, 3] RGB, panning over the portrait."""
    portrait = cv2.imread(str(ASTRONAUT), cv2.IMREAD_COLOR_RGB)
    assert portrait is not None, f"{ASTRONAUT.name} is missing from tests/data"
    scale = 1.12 * max(height / portrait.shape[0], width / portrait.shape[1])
    large = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    room_y, room_x = large.shape[0] - height, large.shape[1] - width
    for turn in np.linspace(0, 2 * np.pi, count, endpoint=False):
        y = int(room_y * (0.25 + 0.25 * np.sin(turn)))
        x = int(room_x * (0.5 + 0.5 * np.cos(turn)))
        yield large[y : y + height, x : x + width].astype(np.uint8)


def write_y4m(path: Path, frames: Iterable[Pixels], fps: int = 30) -> None:
    """Write RGB frames of even, equal size as YUV4MPEG2 4:2:0, as Chromium's fake camera wants."""
    with path.open("wb") as file:
        for index, frame in enumerate(frames):
            if index == 0:
                height, width = frame.shape[:2]
                file.write(f"YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420jpeg\n".encode())
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())


@pytest.fixture(scope="session")
def camera_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip that the fake camera plays, over and over."""
    path = tmp_path_factory.mktemp("camera") / "astronaut.y4m"
    write_y4m(path, moving_astronaut(*CLIP_SIZE, CLIP_FRAMES))
    return path


@pytest.fixture(scope="module")
def browser(camera_clip: Path) -> Iterator[Browser]:
    """Chromium, headless, with the clip as its camera."""
    executable = tool(*CHROMIUM_NAMES, package="chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=[*FLAGS, f"--use-file-for-fake-video-capture={camera_clip}"],
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens pages in a profile of their own, which ends with the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})

    def open_page(url: str, *, width: int = 1280, height: int = 800) -> Visit:
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": height})
        visit = Visit(page)

        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error":
                visit.console_errors.append(message.text)

        page.on("console", on_console)
        page.on("pageerror", lambda error: visit.console_errors.append(str(error)))
        page.on("request", lambda request: visit.hosts.add(urlsplit(request.url).hostname or ""))
        page.on("websocket", lambda socket: visit.hosts.add(urlsplit(socket.url).hostname or ""))
        page.goto(url)
        return visit

    yield open_page
    context.close()


@pytest.fixture
def fake_server() -> Iterator[FakeServer]:
    """A v1 server without a model."""
    with FakeServer() as server:
        yield server
