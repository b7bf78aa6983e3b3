"""Settings of environments: how Gymnasium makes them, how long episodes are, and what happens when one fails."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rsrp_lava.errors import refuse_bool


class WrapperOptions(BaseModel):
    """A wrapper around the environment: a name in `gymnasium.wrappers`, or `module:Class`, and its arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kwargs: dict[str, Any] = Field(default_factory=dict)


class EnvironmentOptions(BaseModel):
    """What a task with episodes may be told; `kwargs`, `wrappers`, `on_error` and what follows are for `gym:` tasks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_steps: int | None = Field(None, ge=1, le=10**9, description="environment steps that end an episode")
    episodes_per_sample: int = Field(1, ge=1, le=1024, description="episodes a training sample plays; the mean counts")
    starts: Literal["independent", "shared"] = Field(
        "independent", description="whether every training sample of a generation starts its own way, or all alike"
    )
    kwargs: dict[str, Any] = Field(default_factory=dict, description="arguments of the environment, gravity=9.8; repeatable")
    wrappers: tuple[WrapperOptions, ...] = Field((), description="wrappers around it, the innermost first")
    on_error: Literal["fail", "worst_rank"] = Field(
        "fail", description="an environment that fails ends the run (fail), or its sample ranks worst (worst_rank)"
    )
    compiled: bool = Field(True, description="play the compiled twin of the environment where there is one")
    worker_memory_mib: int = Field(
        4096, ge=1, le=2**20, description="memory an environment's process may grow by until it is started anew"
    )

    _no_bool = field_validator("max_steps", "episodes_per_sample", "worker_memory_mib", mode="before")(refuse_bool)

    @property
    def deciding(self) -> dict[str, Any]:
        """The settings that decide what is learned, as far as they are not the default."""
        usual, mine = EnvironmentOptions().model_dump(), self.model_dump()
        return {name: value for name, value in mine.items() if value != usual[name] and name != "worker_memory_mib"}
