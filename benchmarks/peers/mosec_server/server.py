"""Mosec: its HTTP server in Rust before one Python worker that gets batches.

It follows Mosec's quick start and its page on the interface
(https://mosecorg.github.io/mosec/reference/interface.html): one ``Worker`` with dynamic
batching, POST /inference, JPEG in, PNG out. Both serialisers are overridden to hand the
bytes on, as its documentation does for pictures.

Settings: batches of up to 16 frames, and 2 ms for one to fill. One worker process, since
``forward`` spreads a batch over all cores itself. Half a minute for a request in place of
3 seconds, so that the load is refused by none of the peers. Mosec reads ``--port`` from the
command line by itself, and everything else from the environment.
"""

from __future__ import annotations

import os

from mosec import Server, Worker

from benchmarks.peers.segmenting import MAX_BATCH, MAX_WAIT_MS, masks, open_pipeline

SETTINGS = {
    "MOSEC_ADDRESS": "127.0.0.1",
    "MOSEC_TIMEOUT": "30000",  # milliseconds
    "MOSEC_LOG_LEVEL": "warning",
}


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
