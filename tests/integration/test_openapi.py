"""The OpenAPI document is true: requests made from it are answered as it says, and never with 5xx.

Schemathesis makes them up, those that the document allows and those that it forbids: parameters out
of bounds, twice or of another type, other methods, bodies that are no pictures. Where a picture
belongs it sends some that are whole and some that were tampered with (``tests.fuzz.files``).
"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from tests.fuzz.files import pictures
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

for media_type in ("image/jpeg", "image/png", "image/webp"):
    schemathesis.openapi.media_type(media_type, pictures() | st.binary(max_size=200))


def test_requests_made_from_the_document_are_answered_as_it_says(server: ServeApp) -> None:
    document = schemathesis.openapi.from_url(f"{server.http}openapi.json")
    operations = [found.ok() for found in document.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 5
    for operation in operations:
        asked = given(case=operation.as_strategy())(answered_as_documented)
        settings(max_examples=40, suppress_health_check=list(HealthCheck))(asked)()


def answered_as_documented(case: schemathesis.Case[Any]) -> None:
    # A picture that was tampered with is in the document's bounds, and refused.
    tampered: list[Any] = [CHECKS.get_one("positive_data_acceptance")]
    case.call_and_validate(timeout=30, excluded_checks=tampered)
