"""Settings of environments: how Gymnasium makes them, how long episodes are, and what happens when one fails."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rsrp_lava.errors import ExperimentError, refuse_bool
from rsrp_lava.tasks.plain import plain

#: Options that disturb an episode (tasks/changes.py).
DISTURBING = ("observation_noise", "body")
#: Options that change no result.
SAFEGUARDS = ("worker_memory_mib", "worker_timeout_s")


class WrapperOptions(BaseModel):
    """A wrapper around the environment: a name in `gymnasium.wrappers`, or `module:Class`, and its arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kwargs: dict[str, Any] = Field(default_factory=dict)

    @field_validator("kwargs")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        return plain(value, "environment.wrappers.kwargs")


class EnvironmentOptions(BaseModel):
    """What a task with episodes may be told.

    `kwargs`, `wrappers`, `on_error`, `compiled`, `worker_memory_mib` and `worker_timeout_s` are for `gym:` tasks;
    `observation_noise` and `body` for tasks whose episodes are compiled; the noise also for test images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_steps: int | None = Field(None, ge=1, le=10**9, description="environment steps that end an episode")
    episodes_per_sample: int = Field(1, ge=1, le=1024, description="episodes a training sample plays; the mean counts")
    starts: Literal["independent", "shared"] = Field(
        "independent", description="whether every training sample of a generation starts its own way, or all alike"
    )
    kwargs: dict[str, Any] = Field(default_factory=dict, description="arguments of the environment, gravity=9.8; repeatable")
    wrappers: tuple[WrapperOptions, ...] = Field(
        (), description="a wrapper around it: a name, or {name: …, kwargs: {…}}; repeatable, the innermost first"
    )
    on_error: Literal["fail", "worst_rank"] = Field(
        "fail", description="an environment that fails ends the run (fail), or its sample ranks worst (worst_rank)"
    )
    compiled: bool = Field(True, description="play the compiled twin of the environment where there is one")
    worker_memory_mib: int = Field(
        4096, ge=1, le=2**20, description="memory an environment's process may grow by until it is started anew"
    )
    worker_timeout_s: float = Field(
        600.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds that one call of an environment may take until its process counts as lost",
    )
    observation_noise: float = Field(
        0.0,
        ge=0,
        le=1e9,
        allow_inf_nan=False,
        description="standard deviation of Gaussian noise on observations, in their units (test images: of a pixel's range)",
    )
    body: dict[str, Annotated[float, Field(ge=1e-9, le=1e9, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="factors of constants of the task's body, pole_length=2; repeatable"
    )

    _no_bool = field_validator(
        "max_steps", "episodes_per_sample", "worker_memory_mib", "worker_timeout_s", "observation_noise", mode="before"
    )(refuse_bool)

    @field_validator("wrappers", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """A name alone is a wrapper without arguments."""
        return (
            [{"name": one} if isinstance(one, str) else one for one in value] if isinstance(value, list | tuple) else value
        )

    @field_validator("kwargs")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        return plain(value, "environment.kwargs")

    @field_validator("body")
    @classmethod
    def _sorted(cls, value: dict[str, float]) -> dict[str, float]:
        """The order in which constants are named changes nothing."""
        return dict(sorted(value.items()))

    @property
    def deciding(self) -> dict[str, Any]:
        """The settings that decide what is learned, as far as they are not the default."""
        usual, mine = EnvironmentOptions().model_dump(), self.model_dump()
        mine["body"] = {name: factor for name, factor in self.body.items() if factor != 1}  # others change nothing
        return {name: value for name, value in mine.items() if value != usual[name] and name not in SAFEGUARDS}

    @property
    def disturbed(self) -> dict[str, Any]:
        """Of these, what makes the task another one than its compiled functions alone: noise and a changed body."""
        return {name: value for name, value in self.deciding.items() if name in DISTURBING}

    def refuse_disturbed(self, why: str) -> None:
        """`ExperimentError` that names an option, if there is one of these."""
        for option in self.disturbed:
            raise ExperimentError(f"environment.{option}: {why}")

    def undisturbed(self) -> EnvironmentOptions:
        """The same without noise and with the usual body."""
        return self.model_copy(
            update={name: type(self).model_fields[name].get_default(call_default_factory=True) for name in DISTURBING}
        )
