"""Mosec as its documentation has it: a stage for each step, the middle one with batches.

It follows Mosec's example of an image model and its page on the interface
(https://mosecorg.github.io/mosec/examples/pytorch.html, .../reference/interface.html): workers
that decode, a worker that infers with dynamic batching, a worker that encodes, each in processes
of its own behind an HTTP server in Rust. POST /inference, JPEG in, PNG out. The first and the
last stage hand bytes on, as the documentation does for pictures; in between Mosec pickles.

Settings: batches of up to 16 frames, and 2 ms for one to fill. A decoder and an encoder for each
core; one process infers, on all cores. Half a minute for a request in place of 3 seconds, so
that the load is refused by none of the peers. Mosec reads ``--port`` from the command line by
itself, and everything else from the environment. ``whole.py`` is for more.
"""

from __future__ import annotations

import os

from mosec import Server, Worker

from benchmarks.peers.segmenting import CORES, MAX_BATCH, MAX_WAIT_MS, Steps
from models.pipeline import Decoded, Segmented

SETTINGS = {
    "MOSEC_ADDRESS": "127.0.0.1",
    "MOSEC_TIMEOUT": "30000",  # milliseconds
    "MOSEC_LOG_LEVEL": "warning",
}


class Decoder(Worker):
    def __init__(self) -> None:
        super().__init__()
        self._steps = Steps(threads=0)

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> Decoded:
        return self._steps.decode(data)


class Network(Worker):
    def __init__(self) -> None:
        super().__init__()
        self._steps = Steps(threads=CORES)

    def forward(self, data: list[Decoded]) -> list[Segmented]:
        return self._steps.predict(data)


class Encoder(Worker):
    resp_mime_type = "image/png"

    def __init__(self) -> None:
        super().__init__()
        self._steps = Steps(threads=0)

    def forward(self, data: Segmented) -> bytes:
        return self._steps.encode(data)

    def serialize(self, data: bytes) -> bytes:
        return data


if __name__ == "__main__":
    os.environ.update(SETTINGS)
    server = Server()
    server.append_worker(Decoder, num=CORES)
    server.append_worker(Network, num=1, max_batch_size=MAX_BATCH, max_wait_time=MAX_WAIT_MS)
    server.append_worker(Encoder, num=CORES)
    server.run()
