"""Programs from outside Python that a test needs: skipped without them, but not in CI."""

from __future__ import annotations

import os
import shutil

import pytest


def tool(*names: str, package: str) -> str:
    """The path of the first of ``names`` that is installed.

    Without any, the test is skipped with a line that says what to install; in CI it fails.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    advice = f"needs {names[0]}: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(advice)
    pytest.skip(advice)
