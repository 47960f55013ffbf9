"""LitServe, with its own batching.

It follows LitServe's pages on batching, on request and response formats and on LitServer
(https://lightning.ai/docs/litserve/features/batching, .../request-response-format,
.../api-reference/litserver): a ``LitAPI`` in a worker process of its own, fed by the
process that speaks HTTP. POST /predict, JPEG in, PNG out.

Settings: a body typed ``bytes`` is handed on as it came where the content type is not JSON,
which spares the form or the base64 of the examples; an answer that is a ``Response`` is
sent as it is. Batches of up to 16 frames, and 2 ms for one to fill: with no time at all
LitServe polls its queue without a pause and burns a core. One worker, since ``predict``
spreads a batch over all cores itself, and two would contend for them. ``fast_queue``
(ZeroMQ), which LitServe advises from 100 requests per second on.

Annotations are objects here, not strings: LitServe reads them to choose the request type.
"""

from typing import Annotated

import litserve as ls
from fastapi import Body, Response

from benchmarks.peers.segmenting import (
    MAX_BATCH,
    MAX_WAIT_MS,
    masks,
    open_pipeline,
    port_argument,
)


class Segmenter(ls.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self._pipeline = open_pipeline()

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return list(inputs)

    def predict(self, jpegs: list[bytes]) -> list[bytes]:
        return masks(self._pipeline, jpegs)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output: bytes) -> Response:
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    api = Segmenter(max_batch_size=MAX_BATCH, batch_timeout=MAX_WAIT_MS / 1e3)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=port_argument(),
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
