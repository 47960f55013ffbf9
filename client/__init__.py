"""The Python client: frames out, one outcome for each of them back.

``async with connect(url) as stream`` opens a session; ``reconnecting(url)``
opens the next one when a session ends. ``python -m client`` is its command line.
"""

from client.connect import connect
from client.outcomes import (
    Closed,
    Dropped,
    End,
    Failed,
    NoReply,
    NoResult,
    Outcome,
    Refused,
    StreamError,
    Unreachable,
)
from client.reconnect import reconnecting
from client.stream import Stream
from ingress.protocol import Result

__all__ = [
    "connect",
    "reconnecting",
    "Stream",
    "Outcome",
    "Result",
    "Failed",
    "Dropped",
    "End",
    "StreamError",
    "Unreachable",
    "Closed",
    "Refused",
    "NoReply",
    "NoResult",
]
