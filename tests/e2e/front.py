"""A front end that is not the server's: one page of the plain dialect, served from elsewhere.

It speaks as the original client does: no subprotocol, JSON, the server's `connected` first, then a
frame; what it sees is written into ``document.title``.
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PAGE = """\
<!doctype html>
<title>opening</title>
<canvas width="64" height="48"></canvas>
<script>
  const say = (words) => (document.title = words);
  const server = new URLSearchParams(location.search).get("server");
  const socket = new WebSocket(server);
  socket.onclose = (event) => say(`closed ${event.code}`);
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "segmentation") return say("segmented");
    if (message.type !== "connected") return say(data);
    const frame = document.querySelector("canvas").toDataURL("image/jpeg");
    socket.send(JSON.stringify({ type: "frame", data: frame, timestamp: 1 }));
  };
</script>
"""


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = _PAGE.encode()
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def front() -> Iterator[int]:
    """The port at which the page is served, under every name of this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(10)
