"""Our lines reach Serve's handlers, each once, and with their fields."""

from __future__ import annotations

import inspect
import json
import logging
from collections import Counter
from collections.abc import Iterator

import pytest
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray._common.formatters import JSONFormatter
from ray.serve._private import replica_result

from deployments.serve.logs import adopt_serve_logging


def test_the_line_that_a_cancelled_call_costs_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line = "Cancelling request that has already been assigned to a replica."
    assert line in inspect.getsource(replica_result), "Serve says it in other words now"
    adopt_serve_logging()
    serve_logger = logging.getLogger("ray.serve")
    with caplog.at_level(logging.INFO, "ray.serve"):
        serve_logger.addHandler(caplog.handler)
        serve_logger.info(line)
        serve_logger.info("another line")
        serve_logger.removeHandler(caplog.handler)
    assert {record.message for record in caplog.records} == {"another line"}


@pytest.fixture
def said() -> Iterator[list[logging.LogRecord]]:
    """What reaches Serve's handlers."""
    records: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    serve_logger = logging.getLogger("ray.serve")
    before = serve_logger.handlers
    serve_logger.handlers = [Kept(logging.INFO), Kept(logging.ERROR)]
    adopt_serve_logging()
    yield records
    serve_logger.handlers = before


def test_a_repeated_warning_reaches_each_of_serves_handlers_once(
    said: list[logging.LogRecord],
) -> None:
    for _ in range(3):
        logging.getLogger("segstream.pools").warning("away")
        logging.getLogger("models.batch").error("a bug")
        logging.getLogger("segstream.session").warning("session ended")
        logging.getLogger("ray.serve").warning("of Serve's own")
    assert Counter(record.getMessage() for record in said) == {
        "away": 1, "a bug": 6, "session ended": 3, "of Serve's own": 3,
    }  # fmt: skip


def test_fields_given_as_extra_are_keys_of_a_json_line(said: list[logging.LogRecord]) -> None:
    fields = {"session": "abc", "age_s": 1.5, "reason": "client_close"}
    logging.getLogger("segstream.session").info("session %s ended", "abc", extra=fields)
    line = json.loads(JSONFormatter().format(said[0]))
    assert line["message"] == "session abc ended"
    assert fields.items() <= line.items()
