"""The certificate: what cannot be served is a line before the start, not a proxy that cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.launch.certificate import check_certificate
from deployments.launch.refusal import CannotStart
from tests.certificate import self_signed


@pytest.mark.parametrize("content", [{}, {"http_options": None}, {"http_options": {"port": 1}}])
def test_without_tls_there_is_nothing_to_check(content: dict[str, object]) -> None:
    check_certificate(content)


def test_a_certificate_with_its_key_is_good(tmp_path: Path) -> None:
    check_certificate({"http_options": self_signed(tmp_path).http_options()})


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    options = self_signed(tmp_path, password="sesame").http_options()
    check_certificate({"http_options": {**options, "ssl_keyfile_password": "sesame"}})
    for wrong in ({}, {"ssl_keyfile_password": "simsim"}):
        with pytest.raises(CannotStart, match=r"cannot serve TLS .* ssl_keyfile_password"):
            check_certificate({"http_options": {**options, **wrong}})


def test_one_without_the_other_is_refused(tmp_path: Path) -> None:
    for name, path in self_signed(tmp_path).http_options().items():
        with pytest.raises(CannotStart, match="both ssl_certfile and ssl_keyfile"):
            check_certificate({"http_options": {name: path}})


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = self_signed(tmp_path / "other").http_options()
    options = {**self_signed(tmp_path).http_options(), "ssl_keyfile": other["ssl_keyfile"]}
    with pytest.raises(CannotStart, match="belong together"):
        check_certificate({"http_options": options})


def test_a_file_that_is_not_there_is_named() -> None:
    options = {"ssl_certfile": "no.pem", "ssl_keyfile": "nokey.pem"}
    with pytest.raises(CannotStart, match=r"ssl_certfile no\.pem .*No such file"):
        check_certificate({"http_options": options})
