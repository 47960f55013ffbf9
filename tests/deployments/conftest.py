"""What the tests of the deployments share: loggers that are given back as they were."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from deployments.serve.logs import OURS


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    """A deployment sends our loggers to Serve's handlers; the tests after it listen at the root."""
    ours = [logging.getLogger(name) for name in OURS]
    before = [(o.handlers, o.level, o.propagate) for o in ours]
    yield
    for logger, (handlers, level, propagate) in zip(ours, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
