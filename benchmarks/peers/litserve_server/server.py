"""LitServe as its documentation has it: a hook for each step, and its own batching.

It follows LitServe's pages on the LitAPI's life cycle, on batching, on types of parallelism and on
request and response formats (https://lightning.ai/docs/litserve/api-reference/litapi,
.../features/batching, .../how-tos/parallelism-types, .../features/request-response-format):
``decode_request`` makes a model's input of a request, ``predict`` takes a batch, and
``encode_response`` makes the answer. POST /predict, JPEG in, PNG out.

Settings: a body typed ``bytes`` is handed on as it came where the content type is not JSON,
which spares the form or the base64 of the examples; an answer that is a ``Response`` is
sent as it is. Batches of up to 16 frames, and 2 ms for one to fill: with no time at all
LitServe polls its queue without a pause and burns a core. A worker process for each core, as
advised for work that is bound to the CPU, with one thread of inference each. ``fast_queue``
(ZeroMQ), which LitServe advises from 100 requests per second on. ``whole.py`` is for more.

Annotations are objects here, not strings: LitServe reads them to choose the request type.
"""

from typing import Annotated

import litserve as ls
from fastapi import Body, Response

from benchmarks.peers.segmenting import CORES, MAX_BATCH, MAX_WAIT_MS, Steps, port_argument
from models.pipeline import Decoded, Segmented


class Segmenter(ls.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self._steps = Steps(threads=1)

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> Decoded:
        return self._steps.decode(request)

    def batch(self, inputs: list[Decoded]) -> list[Decoded]:
        return list(inputs)

    def predict(self, frames: list[Decoded]) -> list[Segmented]:
        return self._steps.predict(frames)

    def unbatch(self, output: list[Segmented]) -> list[Segmented]:
        return output

    def encode_response(self, output: Segmented) -> Response:
        return Response(self._steps.encode(output), media_type="image/png")


def serve(api: type[ls.LitAPI], workers: int) -> None:
    """Serve ``api`` on the port of the command line until the process is stopped."""
    batching = api(max_batch_size=MAX_BATCH, batch_timeout=MAX_WAIT_MS / 1e3)
    server = ls.LitServer(batching, accelerator="cpu", workers_per_device=workers, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=port_argument(),
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    serve(Segmenter, workers=CORES)
