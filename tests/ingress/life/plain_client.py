"""The original client, which has no session: what a connection does not answer, none does."""

from __future__ import annotations

import json
from typing import Any

from ingress.wire.words import Dialect
from tests.ingress.life.life import Life
from tests.ingress.life.replica import Replica


class PlainClient:
    """The original client: frames with timestamps, answered in order, each once."""

    def __init__(self) -> None:
        self.life: Life | None = None
        self._stamp = 0
        self._answered = 0
        self._read = 0

    def connect(self, replica: Replica, *, dead: bool = False, stalled: bool = False) -> None:
        self.life = Life(replica, Dialect.PLAIN, dead=dead, stalled=stalled)
        self._stamp = self._answered = self._read = 0
        self._stamps: set[int] = set()

    def say(self, **message: Any) -> None:
        assert self.life is not None
        self.life.wire.come(json.dumps(message))

    def send_frame(self) -> None:
        self._stamp += 1
        self._stamps.add(self._stamp)
        self.say(type="frame", data="cGljdHVyZQ==", timestamp=self._stamp)

    def read(self, *, quiet: bool) -> None:
        if self.life is None:
            return
        for text in self.life.wire.sent[self._read :]:
            message = json.loads(text)
            if self._read == 0:
                assert message["type"] == "connected"
            self._read += 1
            assert "control_seq" not in message
            if "timestamp" in message:
                assert message["timestamp"] in self._stamps, "answered twice"
                self._stamps.remove(message["timestamp"])
            if message["type"] == "segmentation":
                assert message["timestamp"] > self._answered, "out of order"
                self._answered = message["timestamp"]
