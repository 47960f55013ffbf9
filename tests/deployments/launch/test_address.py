"""The address: what Serve binds, what a person opens, what this machine asks."""

from __future__ import annotations

import pytest

from deployments.launch.address import Address


@pytest.mark.parametrize(
    ("host", "url", "local"),
    [
        ("127.0.0.1", "http://localhost:8000/", "http://127.0.0.1:8000/"),
        ("0.0.0.0", "http://localhost:8000/", "http://127.0.0.1:8000/"),
        ("::", "http://localhost:8000/", "http://[::1]:8000/"),
        ("::1", "http://[::1]:8000/", "http://[::1]:8000/"),
        ("fd00::2", "http://[fd00::2]:8000/", "http://[fd00::2]:8000/"),
        ("cameras.example", "http://cameras.example:8000/", "http://cameras.example:8000/"),
    ],
)
def test_what_is_shown_and_asked_is_an_address_that_can_be_opened(
    host: str, url: str, local: str
) -> None:
    address = Address.of({"http_options": {"host": host}})
    assert (address.url, address.local) == (url, local)


@pytest.mark.parametrize(
    ("content", "ready"),
    [
        ({}, "http://127.0.0.1:8000/ready"),
        ({"http_options": {"port": 81}}, "http://127.0.0.1:81/ready"),
        ({"applications": [{"route_prefix": "/"}]}, "http://127.0.0.1:8000/ready"),
        ({"applications": [{"route_prefix": "/a/b"}]}, "http://127.0.0.1:8000/a/b/ready"),
        (
            {"http_options": {"ssl_certfile": "c", "ssl_keyfile": "k"}},
            "https://127.0.0.1:8000/ready",
        ),
    ],
)
def test_prefix_and_tls_are_the_configurations(content: dict[str, object], ready: str) -> None:
    assert Address.of(content).ready == ready
