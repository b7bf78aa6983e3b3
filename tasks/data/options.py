"""How one's own data are read, and what they were found to be: the section `dataset` of an experiment."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rsrp_lava.errors import refuse_bool

#: Height and width of a picture, and inputs a network may have (sums of kernels/binary_layer.py are exact up to there).
MOST_PIXELS = 2**20


class Content(BaseModel):
    """What was found in the data when a run began. It pins them: other content is refused, another path is not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(description="digest of all inputs and labels as the network sees them, and the names of the classes")
    shape: tuple[int, int, int] = Field(description="height, width, channels; of vectors 1, inputs, 1")
    vectors: bool = Field(description="whether they are vectors, not pictures")
    classes: tuple[str, ...] = Field(description="names of the classes, in the order of the outputs")
    n_train: int
    n_test: int


class DatasetOptions(BaseModel):
    """Settings of the tasks `images:DIR` and `data:FILE.npz`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    resize: tuple[int, int] | None = Field(None, description="height x width all images are brought to, 32x32")
    color: Literal["auto", "grey", "rgb"] = Field("auto", description="grey or rgb; auto: grey if all images are, else rgb")
    test_share: float = Field(0.2, gt=0, lt=1, description="part of every class that tests, where no test part is given")
    split_seed: int = Field(0, ge=0, lt=2**63, description="of the draw of that part; it does not follow the seed")
    levels: int | Literal["auto"] = Field(
        "auto", description="inputs a feature of a vector becomes; auto: 8, fewer of more than 128 features"
    )
    content: Content | None = Field(None, description="what was found; recorded by the program")

    _no_bool = field_validator("test_share", "split_seed", "levels", mode="before")(refuse_bool)

    @field_validator("resize", mode="before")
    @classmethod
    def _height_and_width(cls, value: Any) -> Any:
        """'32x48' (32 high, 48 wide), '32' or 32 for a square, or a list."""
        refuse_bool(value)
        if isinstance(value, str):
            value = value.lower().replace("×", "x").split("x")
        value = [value] if isinstance(value, int) else value
        return [*value, *value] if isinstance(value, list) and len(value) == 1 else value

    @field_validator("resize")
    @classmethod
    def _possible(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not (min(value) >= 1 and value[0] * value[1] <= MOST_PIXELS):
            raise ValueError(
                f"dataset.resize: {value[0]} × {value[1]} must be at least 1 × 1 and at most {MOST_PIXELS:,} pixels"
            )
        return value

    @field_validator("levels")
    @classmethod
    def _some(cls, value: Any) -> Any:
        if value != "auto" and not 1 <= value <= 256:
            raise ValueError(f"dataset.levels: {value} must be between 1 and 256, or auto")
        return value

    @property
    def recipe(self) -> str:
        """Which recipe is for them: `images` or `vectors`."""
        return "vectors" if self.content is not None and self.content.vectors else "images"

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the settings that are not the default."""
        usual = DatasetOptions()
        return tuple(name for name in type(self).model_fields if getattr(self, name) != getattr(usual, name))
