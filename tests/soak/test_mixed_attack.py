"""Ten minutes of all attacks together beside twenty honest streams."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.attacks.attackers import ATTACKS, attacked
from tests.attacks.honest import Honest
from tests.serve_app import serve_app

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]

SECONDS, SLICE_S = 600.0, 20.0
HONEST = 20
WORSE, SILENT_S = 2.0, 1.0


@pytest.mark.parametrize("profile", ["fast"])
def test_ten_minutes_of_mixed_attack(
    profile: str, record_property: Callable[[str, object], None]
) -> None:
    with serve_app(profile) as app:
        with Honest(app.port, HONEST) as honest:
            since = time.monotonic()
            time.sleep(SLICE_S)  # what is measured is a time
            quiet = honest.between(since, since + SLICE_S)
            with attacked(app.port, *ATTACKS):
                since = time.monotonic()
                time.sleep(SECONDS)
                loud = honest.between(since, since + SECONDS)
        sizes = [p.memory_info().rss for p in (app.replica("ingress"), *app.proxies())]
        record_property("quiet", quiet)
        record_property("attacked", loud)
        record_property("ingress_and_proxies_MiB", [size >> 20 for size in sizes])
        record_property("log_lines", len(app.log().splitlines()))
        assert loud.p99_s <= WORSE * quiet.p99_s
        assert loud.silent_s < SILENT_S
        assert "Traceback" not in app.log()
        assert app.metric("segstream_unhandled_exceptions_total") == 0
