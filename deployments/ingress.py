"""The ingress deployment: routes to sessions, handles to the dispatchers.

The WebSocket route only bridges: it asks the gate (``ingress.admission``) and
hands the socket to a ``Session``, which owns everything from accept to the end.
A picture sent over HTTP is analyzed in the same batches as the streams.

No ``from __future__ import annotations`` here: Serve ships the routes by value, and
FastAPI cannot resolve their annotations as strings in the replica.
"""

import asyncio
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from ray import serve
from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from deployments.credentials import authentication
from deployments.lines.pools import Pools, StatsPool
from deployments.manners import Manners, knock_of, refusal, turn_away
from deployments.metrics.census import ReplicaCensus
from deployments.metrics.exposition import Exposition, Families
from deployments.metrics.gathering import Gathering
from deployments.picture import OPENAPI, PictureRefused, answer, flown, read_picture, read_query
from deployments.readiness import Readiness
from deployments.serve.handles import apart, each_outcome
from deployments.serve.logs import adopt_serve_logging
from deployments.serve.outfitter import behind_haproxy, outfitter
from deployments.serve.stopping import told_to_stop
from deployments.session_store import StoreHandle
from ingress.admission.gate import Gate
from ingress.admission.refusal import Refused
from ingress.door.transport import StarletteTransport
from ingress.metrics import Metrics
from ingress.service import Service
from ingress.session.life import Session
from ingress.session.single import SingleFrame
from ingress.settings import IngressSettings
from ingress.upkeep import kept_up
from ingress.wire.replies import ModeInfo
from ingress.wire.words import ErrorCode
from models.catalog import MODES
from models.pictures.declared import declared_pixels

WEB = Path(__file__).parent.parent / "web"


def _gate() -> Gate:
    """That of the replica in this process."""
    replica: Any = serve.get_replica_context().servable_object
    gate: Gate = replica.gate
    return gate


api = FastAPI(
    title="SegStream",
    description="Segmentation of live video. Streams go to the WebSocket `/ws`; see the protocol.",
    docs_url=None,  # its page loads scripts from an outside host
    redoc_url=None,
    # Where the document itself is: the prefix that Serve knows may not be all of the client's path.
    servers=[{"url": "."}],
    root_path_in_servers=False,
)
api.add_middleware(Manners, gate=_gate)
api.mount("/web", StaticFiles(directory=WEB), name="web")
_KEPT_OUT: dict[int | str, dict[str, Any]] = {
    403: {"description": "This page, this name or this caller may not."},
    429: {"description": "Too many from here; ask again after Retry-After."},
    503: {"description": "Too many in all; ask again after Retry-After."},
}


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
        keeper = StoreHandle(store, self._siblings, settings.resume.store_timeout_s)
        equipping = outfitter(settings)
        self._service = Service(
            settings=settings,
            modes={name: mode_info(name) for name in MODES if name in pools},
            analyzer=Pools(pools),
            analyst=StatsPool(stats, timeout_s),
            census=ReplicaCensus(context.app_name),
            store=keeper,
            metrics=Metrics(pools),
            pixels_of=declared_pixels,
            authentication=authentication(settings.admission),
            tickets=keeper,
            named_peers=equipping.named_peers if behind_haproxy(os.environ) else None,
        )
        self.gate = self._service.gate
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
        equipment = kept_up("the equipment of servers", equipping.run, bug)
        self._equipping = loop.create_task(equipment)

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
        try:
            visitor = await self.gate.meet(knock_of(websocket.scope))
        except Refused as refused:
            await turn_away(websocket, refused)
            return
        transport = StarletteTransport(websocket, infrastructure_errors=(RayError,))
        await Session(self._service, transport, visitor).run()

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

    @api.get("/api/modes", responses=_KEPT_OUT)
    async def modes(self) -> list[ModeInfo]:
        """The modes, with their labels, palettes and input sizes."""
        return list(self._service.modes.values())

    @api.get("/api/sessions", responses={**_KEPT_OUT, 401: {"description": "Not the operator."}})
    async def sessions(self, request: Request) -> JSONResponse:
        """Every session of every replica, for the operator: state, age, mode, fps, credit."""
        if not self.gate.is_operator(knock_of(request.scope)):
            return self._for_the_operator()
        ask = partial(apart, self._siblings.broadcast, "sessions_here")
        replicas = await each_outcome(ask, self._service.settings.metrics.gather_timeout_s)
        answered = [sessions for sessions in replicas if isinstance(sessions, list)]
        return JSONResponse(
            {
                "sessions": [session for sessions in answered for session in sessions],
                "replicas": len(answered),
                "replicas_missing": len(replicas) - len(answered),
            }
        )

    def _for_the_operator(self) -> JSONResponse:
        """The answer to who is not."""
        if self._service.settings.admission.operator_token_sha256 is None:
            why = "set ingress.admission.operator_token_sha256 in the configuration"
            return _refusal(403, f"no operator token is configured; {why}")
        return _refusal(401, "send the operator's token: Authorization: Bearer TOKEN")

    @api.post(
        "/api/ticket", responses={**_KEPT_OUT, 401: {"description": "The token is not accepted."}}
    )
    async def ticket(self, request: Request) -> JSONResponse:
        """A ticket in place of the token that is brought: good once, and for some seconds."""
        try:
            ticket = await self.gate.give_ticket(knock_of(request.scope))
        except Refused as refused:
            return refusal(refused)
        seconds = self._service.settings.admission.ticket_s
        return JSONResponse({"ticket": ticket, "expires_s": seconds})

    @api.post("/api/segment", openapi_extra=OPENAPI, response_class=Response)
    async def segment(self, request: Request) -> Response:
        """One picture in, one mask, overlay or matte out; the payloads are those of the stream."""
        service, settings = self._service, self._service.settings
        try:
            # Who may not is not read at all.
            self.gate.picture(knock_of(request.scope))
            # The body first: refused for its query alone, an upload under way would be reset.
            with self.gate.counted():
                image = await read_picture(request, settings.limits, settings.http)
            mode, frame_view = read_query(request.query_params, service)
            shot = SingleFrame(image, frame_view, mode)
            return answer(await flown(shot, service), service)
        except PictureRefused as refused:
            return refused.response()
        except Refused as refused:
            return refusal(refused)

    @api.get("/metrics", include_in_schema=False)
    async def metrics(self, request: Request) -> Response:
        """The metrics of every replica, for Prometheus."""
        if not self.gate.may_scrape(knock_of(request.scope)):
            return self._for_the_operator()
        return Response(await self._gathering.page(), media_type=CONTENT_TYPE_LATEST)

    async def exposition(self, asker: str) -> Families:
        """The metrics of this replica, for the ingress replica that asks."""
        return self._exposition.families(asker)
