"""The Python client: frames out, one outcome for each of them back.

``async with session(url) as stream`` survives lost connections and restarts of
the server; ``connect(url)`` is one connection. ``python -m client`` is the
command line.
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
from client.session import Away, Back, session
from client.stream import Stream
from ingress.wire.pictures import Result

__all__ = [
    "connect",
    "session",
    "Stream",
    "Outcome",
    "Result",
    "Failed",
    "Dropped",
    "End",
    "Away",
    "Back",
    "StreamError",
    "Unreachable",
    "Closed",
    "Refused",
    "NoReply",
    "NoResult",
]
