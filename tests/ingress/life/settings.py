"""The settings that connections live under here: so small that a life of fifty steps meets them.

All durations are virtual seconds.
"""

from __future__ import annotations

from typing import Any

EPSILON_S = 0.01
ORIGIN = "https://page.example"
GROUPS: dict[str, dict[str, Any]] = {
    "keepalive": {"heartbeat_s": 4, "timeout_s": 4},
    "limits": {
        "max_in_flight": 3,
        "max_frame_bytes": 1024,
        "max_control_bytes": 1024,
        "control_burst": 1000,  # what a life says is read at once; rates have tests of their own
        "max_message_bytes": 2400,
        "max_frame_age_s": 2,
        "max_commands": 3,
        "outbox_messages": 24,
        "outbox_bytes": 16384,
        "hello_timeout_s": 3,
        "idle_timeout_s": 60,
        "send_timeout_s": 3,
        "close_timeout_s": 1,
        "credit_timeout_s": 9,
    },
    "batching": {"max_calls": 2, "call_timeout_s": 5, "prepare_timeout_s": 8},
    "resume": {"ttl_s": 24, "ring_messages": 12, "ring_bytes": 8192, "store_timeout_s": 0.8},
    "drain": {"grace_s": 9, "pace_s": 0.5},
}
TTL_S = 24.0
RENEW_S = TTL_S / 3
