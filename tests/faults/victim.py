"""A client to be stopped by SIGSTOP: ``python -m tests.faults.victim PORT DIALECT talks|streams``.

It says "ready" when it is connected, and then what it saw of the end. One that does not stream
says a word whenever it is pinged, so that it is not idle for as long as it is not stopped.
"""

from __future__ import annotations

import sys

from ingress.wire.pictures import parse_result
from tests.faults.raw_client import BINARY, PING, PONG, TEXT, ConnectionEnded, RawClient
from tests.integration.pictures import astronaut, jpeg

RECEIVE_BUFFER = 4096


def main() -> None:
    port, dialect, life = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    picture = jpeg(astronaut())
    with RawClient(port, dialect, receive_buffer=RECEIVE_BUFFER) as client:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        try:
            while True:
                if life == "streams":
                    client.frame(picture)
                opcode, payload = client.read()
                if opcode == BINARY:
                    client.ack = parse_result(payload).seq
                if opcode == PING:
                    client.send(PONG, payload)
                elif opcode == TEXT and b'"ping"' in payload:
                    client.pong()
                else:
                    continue
                if life == "talks":
                    client.say({"type": "update_viz", "settings": {}})
        except ConnectionEnded:
            sys.stdout.write("ended\n")


if __name__ == "__main__":
    main()
