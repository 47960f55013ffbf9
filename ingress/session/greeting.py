"""The first words to a client: ``connected`` in the plain dialect, ``welcome`` in v1."""

from __future__ import annotations

from ingress.service import Service
from ingress.session.scene import Scene
from ingress.wire.replies import Connected, Welcome
from ingress.wire.words import RequestId


def connected(service: Service, scene: Scene) -> Connected:
    """What a plain client is told before it says anything."""
    return Connected(
        available_models=tuple(service.modes),
        class_labels=scene.labels,
        current_model=scene.mode,
    )


def welcome(
    service: Service,
    scene: Scene,
    *,
    session: str,
    resume_token: str,
    resumed: bool,
    reply_to: RequestId | None,
    why: str | None = None,
    last_request: RequestId | None = None,
) -> Welcome:
    """The answer to ``hello``: limits, modes, the settings in force, and how to come back."""
    settings = service.settings
    return Welcome(
        reply_to=reply_to,
        session=session,
        resume_token=resume_token,
        resumed=resumed,
        why=why,
        last_request=last_request,
        heartbeat_s=settings.keepalive.heartbeat_s,
        timeout_s=settings.keepalive.timeout_s,
        max_in_flight=settings.limits.max_in_flight,
        max_frame_bytes=settings.limits.max_frame_bytes,
        max_frame_pixels=settings.limits.max_frame_pixels,
        modes=tuple(service.modes.values()),
        mode=scene.mode,
        viz=scene.view.model_dump(mode="json"),
        retry_ms=settings.retry_ms,
    )
