"""The names of the environment variables that are ours.

They are read by the process that opens the port: Serve's proxy, or the ingress replica in
HAProxy mode. Neither sees serve.yaml's args, so what uvicorn must know of them comes this way.
"""

from __future__ import annotations

WS_MAX_BYTES = "SEGSTREAM_WS_MAX_BYTES"
WS_PING_INTERVAL_S = "SEGSTREAM_WS_PING_INTERVAL_S"
WS_PING_TIMEOUT_S = "SEGSTREAM_WS_PING_TIMEOUT_S"
WS_SEND_TIMEOUT_S = "SEGSTREAM_WS_SEND_TIMEOUT_S"
