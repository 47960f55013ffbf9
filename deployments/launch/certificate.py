"""The certificate that TLS is to be served with: tried before anything is started.

Serve's proxy reads it last of all, and a proxy that cannot is started again and again, without an
end and without a word to who waits.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from deployments.launch.configuration import ROOT
from deployments.launch.refusal import CannotStart


def check_certificate(content: Mapping[str, Any]) -> None:
    """Raise CannotStart where a configuration names a certificate that cannot be served."""
    http = content.get("http_options") or {}
    certificate, key = http.get("ssl_certfile"), http.get("ssl_keyfile")
    if not certificate and not key:
        return
    if not certificate or not key:
        raise CannotStart("http_options need both ssl_certfile and ssl_keyfile, or neither")
    # Without any password OpenSSL would ask the terminal for one.
    password = http.get("ssl_keyfile_password") or ""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ROOT / certificate, ROOT / key, password)
    except ssl.SSLError as error:
        raise CannotStart(
            f"{certificate} and {key} cannot serve TLS ({error.reason}): they must be PEM files "
            "that belong together, an encrypted key with its ssl_keyfile_password"
        ) from None
    except OSError as error:
        raise CannotStart(
            f"a file of http_options, ssl_certfile {certificate} or ssl_keyfile {key}, cannot be "
            f"read ({error.strerror}); paths begin at {ROOT} unless they are absolute"
        ) from None
