"""A thousand resumes at random cuts, on both of Serve's proxies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.books import Books
from tests.faults.fault_app import MAKE_RUN, shortened
from tests.integration.pictures import astronaut, jpeg
from tests.integration.returning_client import lose_and_return
from tests.serve_app import ServeApp, serve_app

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

CLIENTS, CUTS, RESUMES = 20, 65, 1000


def room_for_the_abandoned(args: Any) -> None:
    shortened(args)
    args["ingress"]["admission"] = {"max_sessions": 200}


@pytest.fixture(scope="module", params=MAKE_RUN)
def app(request: pytest.FixtureRequest) -> Iterator[ServeApp]:
    with serve_app(request.param, room_for_the_abandoned) as running:
        yield running


async def test_a_thousand_resumes_lose_repeat_and_reorder_nothing(
    app: ServeApp, record_property: Callable[[str, object], None]
) -> None:
    books = Books(app)
    crowd = await lose_and_return(app.ws, jpeg(astronaut()), clients=CLIENTS, cuts=CUTS, seed=1000)
    for figure in ("resumes", "replies", "results", "replayed"):
        record_property(figure, sum(getattr(client, figure) for client in crowd))
    assert sum(client.resumes for client in crowd) >= RESUMES
    Books(app)  # every connection is accounted for
    record_property("lines_per_connection", len(books.lines()) / (CLIENTS * (CUTS + 1)))
    assert len(books.lines()) == CLIENTS * (CUTS + 1)
    books.no_stumble()
    assert app.metric("segstream_unhandled_exceptions_total") == 0
