"""How the two sides of a connection know each other: by a key that neither of them sends.

Serve carries a replica's key to whoever asks it for its address, and nothing else carries it. On
the connection each side proves that it has the key, over what the other has just made up.

| bytes | who calls | who is called | when |
|---|---|---|---|
| 4 | word | word | at once |
| 32 | nonce | nonce | at once |
| 32 | proof | | to the nonce of the other side |
| 32 | | proof | to the proof of who calls |

Rules
1. The word names the version of all that crosses a line. Two versions of the code, as they meet
   while one replaces the other, part by it: neither goes on to what it might misread.
2. A proof is the HMAC-SHA256, by the key, of the word, the role of who proves and both nonces. So
   it is good for one connection and for one side: neither a recording nor a mirror gets in.
3. Who is called proves last: a stranger is shown nothing that depends on the key.
4. It ends there. What follows is neither hidden nor sealed: who can change packets between two
   nodes can change pictures, and whatever it writes is read as nothing but messages.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

VERSION = 2  # rises with every change to what crosses a line, which a test of the messages notices

_NAME = b"SGL"
_WORD = _NAME + bytes([VERSION])
_NONCE_BYTES = 32
_PROOF_BYTES = 32


class Stranger(Exception):
    """The other side is not to be talked to; the words are for the log."""


@dataclass(frozen=True, slots=True)
class Key:
    """The secret of one replica, in the hands of those to whom Serve brought it."""

    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def proof(self, role: bytes, nonces: bytes) -> bytes:
        """What shows that who has ``role`` on this connection has the key."""
        return hmac.digest(self._secret, _WORD + role + nonces, "sha256")


class Handshake:
    """One side's part in the beginning of one connection.

    Attributes:
        hello: to be written at once.
        awaits: how many bytes of the other side ``take`` is to be given next; 0 once it is known.
    """

    def __init__(self, key: Key, *, calls: bool) -> None:
        """``calls`` on the side that calls."""
        self._key = key
        self._calls = calls
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._nonces = b""  # the caller's, then that of who is called
        self._take: Callable[[bytes], bytes] = self._take_word
        self.hello = _WORD + self._nonce
        self.awaits = len(_WORD)

    def take(self, piece: bytes) -> bytes:
        """What is to be written now that the other side has sent ``piece``.

        Raises:
            Stranger: the other side does not speak this version, or has not the key.
        """
        return self._take(piece)

    def _take_word(self, word: bytes) -> bytes:
        if word[:-1] != _NAME:
            raise Stranger("it does not speak as a replica does")
        if word != _WORD:
            raise Stranger(f"it speaks version {word[-1]} of the lines, this side {VERSION}")
        self._take, self.awaits = self._take_nonce, _NONCE_BYTES
        return b""

    def _take_nonce(self, nonce: bytes) -> bytes:
        self._nonces = self._nonce + nonce if self._calls else nonce + self._nonce
        self._take, self.awaits = self._take_proof, _PROOF_BYTES
        return self._proof(calls=True) if self._calls else b""

    def _take_proof(self, proof: bytes) -> bytes:
        if not hmac.compare_digest(proof, self._proof(calls=not self._calls)):
            raise Stranger("it has not the key")
        self.awaits = 0
        return b"" if self._calls else self._proof(calls=False)

    def _proof(self, *, calls: bool) -> bytes:
        return self._key.proof(b"caller" if calls else b"called", self._nonces)
