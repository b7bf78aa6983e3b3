"""Load and validate a profile."""

from __future__ import annotations

from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from rsrp_lava.errors import ExperimentError, unknown_name


class Profile(BaseModel):
    """The arithmetic a network runs in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    summary: str
    source: str
    arithmetic: Literal["float32"]
    p_bits: int = Field(ge=2, le=32, description="width of the comparator that draws a release")


def profile_names() -> list[str]:
    """Names of all profiles, sorted."""
    folder = resources.files("rsrp_lava.hardware_profiles")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_profile(name: str) -> Profile:
    """The profile of that name; `ExperimentError` names the nearest one if there is none."""
    if name not in profile_names():
        raise ExperimentError(unknown_name("profile", name, profile_names()))
    text = resources.files("rsrp_lava.hardware_profiles").joinpath(f"{name}.yaml").read_text("utf-8")
    return Profile.model_validate(yaml.safe_load(text))
