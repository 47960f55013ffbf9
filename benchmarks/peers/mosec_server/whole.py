"""Mosec with the whole of SegStream's pipeline in one stage.

Not what its documentation shows for pictures, but the most that a user could get out of it:
``forward`` gets a batch of encoded frames and spreads decoding, inference and encoding over all
cores. Settings: those of ``server.py``, and one worker process.
"""

from __future__ import annotations

import os

from mosec import Server, Worker

from benchmarks.peers.mosec_server.server import SETTINGS
from benchmarks.peers.segmenting import MAX_BATCH, MAX_WAIT_MS, masks, open_pipeline


class Segmenter(Worker):
    resp_mime_type = "image/png"

    def __init__(self) -> None:
        super().__init__()
        self._pipeline = open_pipeline()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[bytes]:
        return masks(self._pipeline, data)


if __name__ == "__main__":
    os.environ.update(SETTINGS)
    server = Server()
    server.append_worker(Segmenter, num=1, max_batch_size=MAX_BATCH, max_wait_time=MAX_WAIT_MS)
    server.run()
