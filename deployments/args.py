"""What ``configs/serve.yaml`` may say under ``args``: typed, checked, and closed.

An unknown key fails the deployment and names the nearest known one, because a
setting that is silently ignored is found at three in the morning.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator

from ingress.group import Settings
from ingress.settings import Connections, IngressSettings
from ingress.wire.explain import explain, nearest
from models.catalog import MODES

DeviceWish = Literal["auto", "cuda", "cpu"]
GpuShare = Literal["auto"] | float


class Replicas(Settings):
    """How often a deployment runs, and what each replica reserves of its node."""

    replicas: int = Field(1, ge=1, le=1024)
    cpus_per_replica: float = Field(
        0.1, ge=0, description="Reserved for scheduling; no limit on use."
    )


class IngressArgs(Replicas, Connections):
    """The ingress deployment: connections and their limits."""


class ModelReplicas(Replicas):
    """A deployment that computes: on a GPU, or a fraction of one, where the cluster has it."""

    device: DeviceWish = "auto"
    gpus_per_replica: GpuShare = Field(
        "auto", description="auto: a GPU, or a fraction, where the cluster has GPUs; else none."
    )

    @model_validator(mode="after")
    def _gpus_need_a_device(self) -> Self:
        if self.gpus_per_replica != "auto":
            if self.gpus_per_replica < 0:
                raise ValueError("gpus_per_replica must not be negative")
            if self.gpus_per_replica > 1 and not self.gpus_per_replica.is_integer():
                raise ValueError("gpus_per_replica above 1 must be a whole number")
            if self.device == "cpu" and self.gpus_per_replica > 0:
                raise ValueError("gpus_per_replica must be 0 or auto where device is cpu")
            if self.device == "cuda" and self.gpus_per_replica == 0:
                raise ValueError("gpus_per_replica must not be 0 where device is cuda")
        return self


class PoolArgs(ModelReplicas):
    """A pool of segmenter replicas and the modes that it hosts."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    modes: tuple[str, ...] = Field(min_length=1)
    runtime: Literal["auto", "torch", "openvino"] = "auto"
    threads: int | None = Field(
        None, ge=1, le=256, description="CPU threads of one replica; null: the cores it may use."
    )

    @model_validator(mode="after")
    def _runtime_runs_on_the_device(self) -> Self:
        if self.device == "cuda" and self.runtime == "openvino":
            raise ValueError(
                "runtime openvino runs on a CPU alone, and device is cuda; "
                "set runtime to torch, or device to cpu"
            )
        return self

    @model_validator(mode="after")
    def _modes_exist(self) -> Self:
        for mode in self.modes:
            if mode not in MODES:
                hint = nearest(mode, MODES) or f"; known are {', '.join(MODES)}"
                raise ValueError(f'modes: there is no mode "{mode}"{hint}')
        return self


class AppArgs(Settings):
    """Everything under ``args``."""

    default_mode: str = "person"
    ingress: IngressArgs = IngressArgs()
    pools: tuple[PoolArgs, ...] = (PoolArgs(name="main", modes=tuple(MODES)),)
    stats: ModelReplicas = ModelReplicas(device="cpu")

    @model_validator(mode="wrap")
    @classmethod
    def _in_words(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Check; say what is wrong in words that name the nearest known key."""
        try:
            return handler(data)
        except ValidationError as error:
            raise ValueError(explain(error, cls)) from None

    @model_validator(mode="after")
    def _every_mode_has_one_pool(self) -> Self:
        hosted = [mode for pool in self.pools for mode in pool.modes]
        twice = sorted({mode for mode in hosted if hosted.count(mode) > 1})
        if twice:
            raise ValueError(
                f"pools: {', '.join(twice)} in more than one place; a mode has one pool"
            )
        if self.default_mode not in hosted:
            hint = nearest(self.default_mode, hosted)
            raise ValueError(f'default_mode: no pool hosts "{self.default_mode}"{hint}')
        names = [pool.name for pool in self.pools]
        if len(set(names)) < len(names):
            raise ValueError("pools: two pools have one name")
        return self

    def ingress_settings(self, listens_on: str | None) -> IngressSettings:
        """What the connection layer is told; ``listens_on`` is the host of ``http_options``."""
        return IngressSettings(
            listens_on=listens_on,
            default_mode=self.default_mode,
            replicas={mode: pool.replicas for pool in self.pools for mode in pool.modes},
            **{name: getattr(self.ingress, name) for name in Connections.model_fields},
        )
