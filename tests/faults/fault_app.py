"""The application that the tests of this folder hurt: short deadlines, and a bug to meet."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from typing import Any

from tests.serve_app import ServeApp, serve_app

MAKE_RUN = ("default", "fast")
BARE, DEPLOYED = "bare", "deployed"  # Serve is told nothing of ours but the yaml
PROFILES = (*MAKE_RUN, BARE, DEPLOYED)
MAX_SESSIONS, UNGREETED_PER_ADDRESS = 24, 3
OPERATOR = "the operator of this folder"
HEARTBEAT_S, TIMEOUT_S = 1.0, 2.0  # with less, a live client on a busy machine is too late
SEND_TIMEOUT_S = 2.5
MAX_MESSAGE_BYTES = 16 * 2**20


def shortened(args: Any) -> None:
    """Deadlines of a second or two; two modes of one cheap network family."""
    args["pools"][0]["modes"] = ["person", "person-wide"]
    args["ingress"] = {
        "keepalive": {"heartbeat_s": HEARTBEAT_S, "timeout_s": TIMEOUT_S},
        "limits": {
            "hello_timeout_s": 1.5,
            "idle_timeout_s": 5,
            "credit_timeout_s": 2.5,
            "send_timeout_s": SEND_TIMEOUT_S,
            "close_timeout_s": 1,
            "max_bad_messages": 20,
            "max_message_bytes": MAX_MESSAGE_BYTES,
        },
        "batching": {"call_timeout_s": 5},
        "admission": {
            "max_sessions": MAX_SESSIONS,
            "returning_sessions": 0,
            "ungreeted_per_address": UNGREETED_PER_ADDRESS,
            "operator_token_sha256": hashlib.sha256(OPERATOR.encode()).hexdigest(),
        },
    }


def fault_app(profile: str) -> AbstractContextManager[ServeApp]:
    """The application with short deadlines and the planted bug."""
    return serve_app(profile, shortened, import_path="tests.faults.planted:build")
