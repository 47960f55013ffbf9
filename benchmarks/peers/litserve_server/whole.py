"""LitServe with the whole of SegStream's pipeline in its one hook for batches.

Not what its documentation shows, but the most that a user could get out of it: ``predict`` gets
encoded frames and spreads decoding, inference and encoding of a batch over all cores.

Settings: those of ``server.py``, but one worker, since two would contend for the cores.

Annotations are objects here, not strings: LitServe reads them to choose the request type.
"""

from typing import Annotated

import litserve as ls
from fastapi import Body, Response

from benchmarks.peers.litserve_server.server import serve
from benchmarks.peers.segmenting import masks, open_pipeline


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
    serve(Segmenter, workers=1)
