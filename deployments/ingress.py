"""The ingress deployment: routes to sessions, handles to the dispatchers.

The WebSocket route only bridges: it chooses the dialect, checks the origin and
hands the socket to a ``Session``, which owns everything from accept to the end.
A picture sent over HTTP is analyzed in the same batches as the streams.

No ``from __future__ import annotations`` here: Serve ships the routes by value, and
FastAPI cannot resolve their annotations as strings in the replica.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from ray import serve
from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from deployments.lines.pools import Pools, StatsPool
from deployments.metrics.census import ReplicaCensus
from deployments.metrics.exposition import Exposition, Families
from deployments.metrics.gathering import Gathering
from deployments.picture import OPENAPI, PictureRefused, answer, flown, read_body, read_query
from deployments.readiness import Readiness
from deployments.serve.handles import apart, each_outcome
from deployments.serve.logs import adopt_serve_logging
from deployments.serve.outfitter import outfitter
from deployments.serve.stopping import told_to_stop
from deployments.session_store import StoreHandle
from ingress.door.admission import is_operator, origin_allowed
from ingress.door.transport import StarletteTransport
from ingress.metrics import Metrics
from ingress.service import Service
from ingress.session.life import Session
from ingress.session.single import SingleFrame
from ingress.settings import IngressSettings
from ingress.upkeep import kept_up
from ingress.wire.replies import ModeInfo
from ingress.wire.words import SUBPROTOCOL, Dialect, ErrorCode
from models.catalog import MODES

WEB = Path(__file__).parent.parent / "web"

api = FastAPI(
    title="SegStream",
    description="Segmentation of live video. Streams go to the WebSocket `/ws`; see the protocol.",
    docs_url=None,  # its page loads scripts from an outside host
    redoc_url=None,
    # Where the document itself is: the prefix that Serve knows may not be all of the client's path.
    servers=[{"url": "."}],
    root_path_in_servers=False,
)
api.mount("/web", StaticFiles(directory=WEB), name="web")


def mode_info(name: str) -> ModeInfo:
    """One row of the catalogue as clients see it."""
    spec = MODES[name]
    return ModeInfo(
        name=spec.name,
        title=spec.title,
        labels=spec.labels,
        palette=spec.palette,
        input_size=spec.input_size,
    )


def _refusal(status: int, message: str) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    error = {"code": ErrorCode.UNAUTHORIZED, "message": message}
    return JSONResponse({"error": error}, status_code=status, headers=headers)


@serve.ingress(api)
class Ingress:
    """One replica: its sessions, its dispatchers, its metrics."""

    def __init__(
        self,
        settings: IngressSettings,
        pools: Mapping[str, DeploymentHandle[Any]],
        stats: DeploymentHandle[Any],
        store: DeploymentHandle[Any],
    ) -> None:
        """``pools`` maps each mode to the handle of the pool that hosts it."""
        adopt_serve_logging()
        timeout_s = settings.batching.call_timeout_s
        context = serve.get_replica_context()
        self._siblings = serve.get_deployment_handle(context.deployment, context.app_name)
        self._service = Service(
            settings=settings,
            modes={name: mode_info(name) for name in MODES if name in pools},
            analyzer=Pools(pools),
            analyst=StatsPool(stats, timeout_s),
            census=ReplicaCensus(context.app_name),
            store=StoreHandle(store, self._siblings, settings.resume.store_timeout_s),
            metrics=Metrics(pools),
        )
        self._exposition = Exposition(self._service.metrics.registry)
        self._gathering = Gathering(
            self._exposition,
            [self._siblings, *pools.values(), stats, store],
            settings.metrics.gather_timeout_s,
        )
        loop = asyncio.get_running_loop()
        bug = self._service.metrics.unhandled_exceptions.inc
        self._readiness = Readiness(self._service.analyzer, settings.default_mode, bug)
        renewing = kept_up("the renewal of sessions", self._service.roll.run, bug)
        self._renewing = loop.create_task(renewing)
        draining = kept_up("the drain", self._drain_when_told, bug)
        self._draining = loop.create_task(draining)
        equipping = kept_up("the equipment of servers", outfitter(settings).run, bug)
        self._equipping = loop.create_task(equipping)

    async def _drain_when_told(self) -> None:
        await told_to_stop()
        self._equipping.cancel()
        await self._service.drainage.run()

    async def release(self, session: str) -> bool:
        """Let go of a session whose client came back elsewhere; whether it was here."""
        return await self._service.roll.release(session)

    async def sessions_here(self) -> list[Mapping[str, Any]]:
        """The sessions of this replica."""
        return self._service.roll.describe()

    @api.websocket("/ws")
    async def stream(self, websocket: WebSocket) -> None:
        """The one WebSocket endpoint; see docs/protocol.md."""
        allowed = self._service.settings.admission.allowed_origins
        if not origin_allowed(websocket.headers.get("origin"), allowed):
            self._service.metrics.handshakes_rejected.labels("origin").inc()
            await websocket.close()  # before accept: HTTP 403
            return
        offered = websocket.scope["subprotocols"]
        dialect = Dialect.V1 if SUBPROTOCOL in offered else Dialect.PLAIN
        transport = StarletteTransport(websocket, infrastructure_errors=(RayError,))
        await Session(self._service, transport, dialect, websocket.headers.get("origin")).run()

    @api.get("/", include_in_schema=False)
    async def page(self) -> FileResponse:
        """The studio page."""
        return FileResponse(WEB / "index.html")

    @api.head("/health", include_in_schema=False)
    @api.get("/health")
    async def health(self) -> JSONResponse:
        """That this process is alive; nobody else is asked."""
        return JSONResponse({"status": "ok", "sessions": len(self._service.roll)})

    @api.head("/ready", include_in_schema=False)
    @api.get("/ready", responses={503: {"description": "No: wait, and ask again."}})
    async def ready(self) -> JSONResponse:
        """Whether a frame of the default mode could be answered now: 200, else 503."""
        if await self._readiness.is_there():
            return JSONResponse({"status": "ready"})
        why = f"no segmenter answers for {self._service.settings.default_mode}; try again soon"
        return JSONResponse({"status": "unavailable", "why": why}, status_code=503)

    @api.get("/api/modes")
    async def modes(self) -> list[ModeInfo]:
        """The modes, with their labels, palettes and input sizes."""
        return list(self._service.modes.values())

    @api.get("/api/sessions")
    async def sessions(self, request: Request) -> JSONResponse:
        """Every session of every replica, for the operator: state, age, mode, fps, credit."""
        expected = self._service.settings.admission.operator_token_sha256
        if expected is None:
            why = "set ingress.admission.operator_token_sha256 in the configuration"
            return _refusal(403, f"no operator token is configured; {why}")
        if not is_operator(request.headers.get("authorization"), expected):
            return _refusal(401, "send the operator's token: Authorization: Bearer TOKEN")
        asked = apart(self._siblings.broadcast, "sessions_here")
        replicas = await each_outcome(asked, self._service.settings.metrics.gather_timeout_s)
        answered = [sessions for sessions in replicas if isinstance(sessions, list)]
        return JSONResponse(
            {
                "sessions": [session for sessions in answered for session in sessions],
                "replicas": len(answered),
                "replicas_missing": len(replicas) - len(answered),
            }
        )

    @api.post("/api/segment", openapi_extra=OPENAPI, response_class=Response)
    async def segment(self, request: Request) -> Response:
        """One picture in, one mask, overlay or matte out; the payloads are those of the stream."""
        service = self._service
        try:
            # The body first: refused for its query alone, an upload under way would be reset.
            image = await read_body(request, service.settings.limits.max_frame_bytes)
            mode, frame_view = read_query(request.query_params, service)
            shot = SingleFrame(image, frame_view, mode)
            return answer(await flown(shot, service), service)
        except PictureRefused as refusal:
            return refusal.response()

    @api.get("/metrics", include_in_schema=False)
    async def metrics(self) -> Response:
        """The metrics of every replica, for Prometheus."""
        return Response(await self._gathering.page(), media_type=CONTENT_TYPE_LATEST)

    async def exposition(self, asker: str) -> Families:
        """The metrics of this replica, for the ingress replica that asks."""
        return self._exposition.families(asker)
