"""What we log, among what Serve logs: through its handlers, and no line of it twice for one event.

Serve configures the logger ``ray.serve`` alone, with its format, its files, its JSON; a logger of
ours would be heard by nobody. And it says a line of its own for calls that we cancel. Of what Serve
says in a replica, ports and routers that were started, the console gets warnings and errors; the
replica's file has it all.
"""

from __future__ import annotations

import logging

from deployments.serve.quiet import Quiet

OURS = ("segstream", "models")

# Each of its lines stands for something that ended once.
_ONE_LINE_EACH = frozenset({"segstream.session"})

# Serve says this for every call that we cancel because its sessions have gone. A lost client
# costs one line, and that line is ours.
_CANCELLED_CALL = "Cancelling request that has already been assigned to a replica."


def adopt_serve_logging() -> None:
    """Send our loggers through Serve's handlers: its format, its files, its JSON.

    With ``logging_config.encoding: JSON`` what a call gives as ``extra=`` becomes keys of the
    line's object; the values must be what ``json.dumps`` takes.
    """
    serve_logger = logging.getLogger("ray.serve")
    serve_logger.addFilter(_not_a_cancelled_call)
    serve_logger.addFilter(_chatter_to_files)
    relay = Relay(serve_logger)
    for name in OURS:
        ours = logging.getLogger(name)
        ours.handlers = [relay]
        ours.setLevel(serve_logger.level or logging.INFO)
        ours.propagate = not serve_logger.handlers


class Relay(logging.Handler):
    """Hands our records, repeated warnings held back, to the handlers that Serve has now.

    A filter on a logger does not meet the records of its children, and Serve's handlers carry
    records that are not ours; so the filter has a handler of its own.
    """

    def __init__(self, to: logging.Logger) -> None:
        super().__init__()
        self._to = to
        self.addFilter(Quiet(spared=_ONE_LINE_EACH))

    def emit(self, record: logging.LogRecord) -> None:
        for handler in self._to.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)


def _chatter_to_files(record: logging.LogRecord) -> bool:
    """A record of Serve's own: those of our loggers do not pass here."""
    if record.levelno < logging.WARNING:
        record.log_to_stderr = False  # Serve's console handler asks for it
    return True


def _not_a_cancelled_call(record: logging.LogRecord) -> bool:
    return record.msg != _CANCELLED_CALL
