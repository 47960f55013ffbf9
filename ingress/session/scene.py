"""What a session looks at: its mode, its view, and the masks of its last seconds.

Mode and view outlive the connection (``SessionSettings``); the masks are for statistics,
all of one mode, bounded in number and age.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from ingress.settings import IngressSettings
from ingress.wire.replies import ModeInfo
from models.view import View


class Scene:
    """Mode and view in force, and the recent masks: (seconds, PNG label map), oldest first."""

    def __init__(self, settings: IngressSettings, modes: Mapping[str, ModeInfo]) -> None:
        self.mode = settings.default_mode
        self.view = View()
        self.masks: deque[tuple[float, bytes]] = deque(maxlen=settings.limits.scene_masks)
        self._window_s = settings.limits.scene_window_s
        self._modes = modes

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the mode in force, by class id."""
        return self._modes[self.mode].labels

    def change(self, mode: str) -> None:
        """Look with another mode; classes that it does not have leave the view."""
        self.mode = mode
        self.view = self.view.for_classes(len(self.labels))
        self.masks.clear()

    def adopt(self, mode: str, view: View) -> None:
        """Begin with these, before the first frame; a mode that is no more is not taken."""
        self.view = view
        self.change(mode if mode in self._modes else self.mode)

    def lay_over(self, settings: Mapping[str, Any]) -> None:
        """Lay settings over the view, all of them or none.

        Raises:
            pydantic.ValidationError: a key or a value is not one of a view.
            UnknownClass: a class that the mode does not have.
        """
        self.view = self.view.updated(settings, len(self.labels))

    def remember(self, mode: str, moment: float, mask: bytes) -> None:
        """Keep the mask of a frame that came at ``moment``, where the mode is still in force."""
        if mode != self.mode:
            return
        while self.masks and self.masks[0][0] < moment - self._window_s:
            self.masks.popleft()
        self.masks.append((moment, mask))
