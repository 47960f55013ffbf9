"""Why there is no start: the one error that the command line shows as a line and not as a bug."""

from __future__ import annotations


class CannotStart(Exception):
    """Why the server will not start, and what to do about it, in one line."""
