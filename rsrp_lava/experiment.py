"""What to run: one validated model, the same in Python, in YAML, on the command line and in a run folder."""

from __future__ import annotations

import difflib
import functools
import logging
import math
import platform
import reprlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from rsrp_lava.errors import DataError, ExperimentError, counted, refuse_bool, unknown_name
from rsrp_lava.files import read_file
from rsrp_lava.hardware_profiles import Profile, load_profile
from rsrp_lava.hardware_profiles.loader import dump_yaml, is_profile_file, parse_yaml, read_profile
from rsrp_lava.kernels.rewards import REWARDS
from rsrp_lava.learning.hedonistic import Hedonistic
from rsrp_lava.learning.optimizers import OPTIMIZERS
from rsrp_lava.learning.rsrp import Rsrp
from rsrp_lava.learning.satr import Satr, SatrOptions
from rsrp_lava.learning.storage import Storage
from rsrp_lava.learning.transforms import SCALED_BY_REWARD, TRANSFORMS
from rsrp_lava.mapping.release import ReleaseDraw
from rsrp_lava.network import LayeredNetwork, LayeredOptions, Network, NetworkOptions
from rsrp_lava.rules import WEIGHT_RULES, Problem, WeightRule
from rsrp_lava.tasks import (
    ClassifyTask,
    EnvironmentOptions,
    EpisodeTask,
    GymTask,
    Task,
    consent,
    get_compiled_task,
    get_task,
    is_classified,
    recipe,
)
from rsrp_lava.tasks.data import DatasetOptions, is_own, load_data, pinned, refuse_unused, whole_name
from rsrp_lava.tasks.environment import WrapperOptions
from rsrp_lava.tasks.pictures import picture_episodes
from rsrp_lava.tasks.plain import digest
from rsrp_lava.useless import OF_CLASSIFIERS, refuse_given, useless

#: Rules by name, with the line `rsrp-lava rules` prints.
RULES = {
    "rsrp": "reward-optimized stochastic release plasticity: ranked rewards, natural gradient (Sun et al. 2025)",
    "hedonistic": "hedonistic synapses: the plain gradient of reward in the release parameter (Seung 2003)",
    "satr": "rsrp with steps whose KL divergence is bounded by the measured signal (after Li et al. 2026)",
    **{name: rule.summary for name, rule in WEIGHT_RULES.items()},
}
_RULES: dict[str, type[Rsrp]] = {"rsrp": Rsrp, "hedonistic": Hedonistic, "satr": Satr}
#: What `rule_options` may hold, of rules that have any.
_OPTIONS: dict[str, type[BaseModel]] = {"satr": SatrOptions, **{name: rule.Options for name, rule in WEIGHT_RULES.items()}}
#: Engines by name.
ENGINES = {
    "fused": "network and task in one compiled kernel, on all processors",
    "lava": "the same as a graph of Lava processes (Python 3.10)",
    "ray": "on the processors of a Ray cluster, or of this machine (extra ray)",
}

#: Fields that do not change what is computed, only how much of it or how fast; they may differ when a run is resumed.
_NOT_IN_FINGERPRINT = ("generations", "max_env_steps", "engine", "lava_target", "evaluate_every", "histograms_at", "data")
#: What a rule that keeps weights has of an experiment's settings, besides those it names itself (`WeightRule.settings`).
_OF_WEIGHT_RULES = (
    "task",
    "rule",
    "rule_options",
    "engine",
    "seed",
    "population",
    "generations",
    "max_env_steps",
    "learning_rate",
    "evaluation_episodes",
    "evaluate_every",
    "environment",
)


#: Settings that are younger than some runs, by their path: at the value those runs had they are not in a fingerprint.
_YOUNGER: dict[tuple[str, ...], Any] = {
    ("rule_options",): {},
    ("halve_learning_rate_every",): None,
    ("network", "one_hot_inputs"): "standardised",
}


#: Sections of settings.
SECTIONS: dict[str, type[BaseModel]] = {
    "network": NetworkOptions,
    "layers": LayeredOptions,
    "environment": EnvironmentOptions,
    "dataset": DatasetOptions,
}
#: What each may hold, in messages.
_EXAMPLES = {
    "LayeredOptions": "hidden: [64]",
    "EnvironmentOptions": "max_steps: 500",
    "DatasetOptions": "resize: 32x32",
    "WrapperOptions": "name: FlattenObservation",
}

_MOST_LEARNING_RATE = 1e9

#: What is given to `train` instead of being a setting.
_GIVEN_TO_TRAIN = ("threads", "workers", "until", "max_time", "tensorboard", "out", "resume")
#: In place of pydantic's words for a mistake, by its type.
_WORDS = {
    "int_parsing": "must be a whole number in digits, such as 16",
    "int_from_float": "must be a whole number in digits, such as 16",
    "int_type": "must be a whole number in digits, such as 16",
    "float_parsing": "must be a number",
}


class _Fields(BaseModel):
    """The fields of an experiment; `Experiment` adds the task's recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)

    task: str = Field(
        "cartpole",
        description="what to learn: a task (rsrp-lava tasks), gym:ID, any of Gymnasium's, or images:DIR or data:FILE.npz, "
        "your own data",
    )
    rule: str = Field("rsrp", description="how to learn (rsrp-lava rules)")
    rule_options: dict[str, Any] = Field(
        default_factory=dict, description="settings of one rule only, noise=0.1 (docs/rules.md); repeatable"
    )
    engine: str = Field("fused", description="where the population is evaluated")
    lava_target: Literal["simulation", "loihi2"] = Field(
        "simulation", description="what engine lava runs on: simulation, or loihi2 (needs Intel's lava-loihi)"
    )
    profile: str = Field("ideal", description="hardware to compute as: a name (rsrp-lava profiles) or a YAML file")
    profile_overrides: dict[str, bool | int | float | str | None] = Field(
        default_factory=dict, description="values that replace the profile's, learning_storage.p_bits=4; repeatable"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="everything random follows from it")
    population: int = Field(
        256,
        ge=2,
        le=2**20,
        description="training samples (of rules with weights: episodes) per generation; auto, or auto:WORKERS for many "
        "processors (docs/learning.md)",
    )
    generations: int = Field(70, ge=1, le=10**9, description="generations to train")
    max_env_steps: Annotated[int, Field(ge=1)] | None = Field(
        None, description="end training after the generation in which so many environment steps were played"
    )
    learning_rate: float | Literal["auto"] = Field("auto", description="step size, or auto (docs/learning.md)")
    halve_learning_rate_every: Annotated[int, Field(ge=1)] | None = Field(
        None, description="generations after which the learning rate is half of what it was; never, by default"
    )
    optimizer: str = Field("sgd", description="sgd (plain natural gradient), momentum or adam")
    reward_transform: str = Field("centered_rank", description="normalized_rank, centered_rank, zero_mean or none")
    decay: float = Field(0.0, ge=0, le=1, description="part of the way to 1/2 every probability moves a generation")
    epsilon: float = Field(1e-3, gt=0, lt=0.5, description="probabilities stay within [epsilon, 1 - epsilon]")
    p_bits: Annotated[int, Field(ge=2, le=32)] | Literal["auto"] = Field(
        "auto", description="width of the comparator that draws a release; auto: the profile's"
    )
    reservoir: bool = Field(False, description="freeze the recurrent synapses at a draw; input and readout learn")
    evaluation_episodes: int = Field(128, ge=1, le=2**20, description="deterministic episodes an evaluation")
    evaluate_every: int = Field(1, ge=1, description="generations from one evaluation to the next")
    histograms_at: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="generations whose release probabilities go into metrics.jsonl as histograms"
    )
    reward: str = Field("soft_recall", description="of a batch of images: soft_recall, accuracy, recall or cross_entropy")
    batch: int = Field(64, ge=1, le=2**16, description="images a network sees a generation")
    data_sampling: Literal["shared", "independent"] = Field(
        "shared", description="shared: all networks see the same images; independent: each draws its own"
    )
    data: str | None = Field(None, description="folder of the files of mnist, fashion_mnist, cifar10 (docs/data.md)")
    dataset: DatasetOptions = DatasetOptions()
    environment: EnvironmentOptions = EnvironmentOptions()
    network: NetworkOptions = NetworkOptions()
    layers: LayeredOptions = LayeredOptions()

    @field_validator(
        *(
            "seed",
            "population",
            "generations",
            "max_env_steps",
            "learning_rate",
            "halve_learning_rate_every",
            "decay",
            "epsilon",
            "p_bits",
            "evaluation_episodes",
            "evaluate_every",
            "batch",
        ),
        mode="before",
    )
    @classmethod
    def _number(cls, value: Any) -> Any:
        value = refuse_bool(value)
        if isinstance(value, str):  # 1e4, in an option or YAML 1.1, is a text that pydantic does not take for an integer
            with suppress(ValueError):
                return int(float(value)) if "e" in value.lower() and float(value).is_integer() else value
        return value

    @field_validator("histograms_at", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        """'0,100' from the command line, one number, or a list."""
        if isinstance(value, str):
            return [part for part in value.split(",") if part.strip()]
        return [value] if isinstance(value, int) and not isinstance(value, bool) else value

    def _check(self, *, task_too: bool) -> None:
        """`ValueError` for settings that do not go together; with `task_too` also those that only the task can tell of."""
        for what, name, known in (
            ("rule", self.rule, RULES),
            ("engine", self.engine, ENGINES),
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("reward_transform", self.reward_transform, TRANSFORMS),
            ("reward", self.reward, REWARDS),
        ):
            if name not in known:
                raise ValueError(unknown_name(what, name, known))
        if task_too:
            self._check_kind()
        if self.lava_target != "simulation" and self.engine != "lava":
            raise ValueError(
                f"lava_target: {self.lava_target} is for engine lava, not {self.engine}; "
                "add --engine lava, or leave lava_target at simulation"
            )
        if isinstance(self.learning_rate, float) and self.learning_rate <= 0:
            raise ValueError(f"learning_rate: {self.learning_rate:g} must be above 0, or auto")
        if isinstance(self.learning_rate, float) and self.learning_rate > _MOST_LEARNING_RATE:
            raise ValueError(f"learning_rate: {self.learning_rate:g} must be at most {_MOST_LEARNING_RATE:g}")
        bits, storage = self.comparator_bits, self.hardware.learning_storage
        if storage.p_bits is not None and storage.p_bits > bits:
            raise ValueError(
                f"p_bits: a comparator of {bits} bits cannot tell apart stored probabilities of {storage.p_bits} bits; "
                "raise p_bits, or lower learning_storage.p_bits"
            )
        release = self.hardware.release
        if release.generator.kind == "lfsr" and (release.generator.width < bits or release.scope == "axon"):
            raise ValueError(
                f"release.generator: a shift register of {release.generator.width} bits cannot draw for a comparator of "
                f"p_bits = {bits}, scope {release.scope}; it needs width ≥ p_bits and scope synapse"
            )
        if storage.p_bits is None and self.epsilon * 2**bits < 0.5:
            raise ValueError(
                f"epsilon: {self.epsilon:g} rounds to 0 in a comparator of p_bits = {bits}, whose step is {2.0**-bits:g}; "
                f"raise epsilon to at least {2.0 ** -(bits + 1):g}, or p_bits (up to 32)"
            )

    def _check_kind(self) -> None:
        """Settings that the kind of task has no use for are refused, not ignored."""
        task = self.build_task()
        if isinstance(task, ClassifyTask):
            try:
                refuse_unused(self.task, self.data, self.dataset)
            except DataError as error:
                raise ValueError(str(error)) from None
        if self.weight_rule is not None:
            self._check_weight_rule(self.weight_rule, task)
            return
        if self.rule_options and self.rule not in _OPTIONS:
            raise ValueError(f"rule_options: rule {self.rule} has none; leave them out")
        if self.optimizer not in _RULES[self.rule].optimizers:
            raise ValueError(
                f"optimizer: rule {self.rule} finds the length of its steps itself, not with {self.optimizer}; "
                f"choose {' or '.join(_RULES[self.rule].optimizers)}"
            )
        if isinstance(task, ClassifyTask):
            if self.max_env_steps is not None:
                raise ValueError(f"max_env_steps: {self.task} has images, no environment steps; give generations instead")
            spiking = self.layers.neurons == "lif"
            if self.engine == "lava":
                raise ValueError(
                    f"engine: {self.task} is classified in batches of images, which engine lava has not; leave engine out"
                )
            for name in ("reservoir",) if spiking else ("profile", "reservoir", "network"):
                if getattr(self, name) != _Fields.model_fields[name].default:
                    why = "in batches of images" if spiking else "by networks without spikes"
                    way_out = "" if spiking else ", or set layers.neurons to lif"
                    raise ValueError(f"{name}: {self.task} is classified {why}; leave {name} out{way_out}")
            scope, kind = self.hardware.release.scope, self.hardware.release.generator.kind
            if (scope, kind) != ("synapse", "counter"):
                raise ValueError(f"release: {self.task} is classified with ideal random bits; leave scope and generator out")
            LayeredNetwork(self.layers, task.shape, task.n_outputs)  # refuses pictures too small for the convolutions
            return
        for name in OF_CLASSIFIERS:
            if getattr(self, name) != _Fields.model_fields[name].default:
                raise ValueError(f"{name}: is for tasks that classify images; {self.task} has episodes, leave {name} out")
        if self.engine == "lava":
            self.compiled_task("engine lava")
            if self.halve_learning_rate_every is not None:
                raise ValueError(
                    "halve_learning_rate_every: the processes of engine lava keep one learning rate; leave it out, "
                    "or use engine fused"
                )
            if self.environment.episodes_per_sample > 1:
                raise ValueError(
                    f"environment.episodes_per_sample: engine lava plays one episode a sample, not "
                    f"{self.environment.episodes_per_sample} (perhaps the task's recipe); set it to 1, or use engine fused"
                )

    def _check_weight_rule(self, rule: type[WeightRule], task: Task) -> None:
        """The rule can learn the task, and has a use for every setting."""
        refusal = rule.refusal(task)
        if refusal is not None:
            raise ValueError(f"rule: {self.rule} cannot learn {self.task}: {refusal}; choose another rule or task")
        if self.engine == "lava" and rule.lava is not None:
            self.compiled_task("engine lava")
            refusal = rule.lava_refusal(rule.Options(**self.rule_options))
            if refusal is not None:
                raise ValueError(f"rule_options.{refusal}, or use engine fused")
        elif self.engine != "fused":
            raise ValueError(f"engine: rule {self.rule} plays in this process, not on {self.engine}; leave engine out")
        for name, field in _Fields.model_fields.items():
            if name not in of_use(self.rule) and getattr(self, name) != field.get_default(call_default_factory=True):
                raise ValueError(f"{name}: rule {self.rule} has no use for it; leave it out")
        for name in sorted(rule.network_unused):
            if getattr(self.network, name) != NetworkOptions.model_fields[name].default:
                raise ValueError(f"network.{name}: rule {self.rule} has no use for it; leave it out")
        if self.population % rule.episodes_together:
            raise ValueError(
                f"population: {self.population} is not possible, rule {self.rule} plays its episodes in groups of "
                f"{rule.episodes_together}; give a multiple of {rule.episodes_together}"
            )
        if self.environment.episodes_per_sample > 1 or self.environment.starts == "shared":
            raise ValueError(f"environment: rule {self.rule} plays one episode after the other; leave samples' settings out")

    @property
    def weight_rule(self) -> type[WeightRule] | None:
        """The class of a rule that keeps weights; None for rules of release probabilities."""
        return WEIGHT_RULES.get(self.rule)

    @property
    def hardware(self) -> Profile:
        """The profile, with its overrides."""
        return load_profile(self.profile, self.profile_overrides)

    @property
    def named_code(self) -> list[str]:
        """The code of others that the settings name (`tasks.consent`)."""
        return consent.named(self.task, self.environment)

    def build_task(self) -> Task:
        """The task, with the options of its environment. `ExperimentError` if that runs code which only a file names."""
        return get_task(self.task, self.environment, self.dataset)

    def compiled_task(self, what: str) -> EpisodeTask:
        """The task, for `what`, which needs compiled episodes; `ExperimentError` if it has none."""
        return get_compiled_task(self.task, what, self.environment)

    @property
    def comparator_bits(self) -> int:
        """`p_bits`, or the profile's."""
        return self.hardware.p_bits if self.p_bits == "auto" else self.p_bits


class Experiment(_Fields):
    """What to run. Settings that are not given come from the task's recipe, then from the defaults; so do those of a
    section (`network`, `environment`) of which only some are given.

    >>> Experiment(task="cartpole", population=128).generations
    70

    Raises `ExperimentError` that names the field, the value and the limit.
    """

    #: The file that names the settings; None: Python code or the command line does.
    _source: str | None = PrivateAttr(None)
    #: What a run folder keeps beside the settings: `profile` (what a profile that is a file says) and `sittings`.
    _record: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init__(self, **settings: Any) -> None:
        consent.give(consent.named(settings.get("task"), settings.get("environment")))
        self._fill(settings, given=settings)

    @classmethod
    def _made(cls, settings: Mapping[str, Any], source: str | None, record: Mapping[str, Any], **how: Any) -> Experiment:
        experiment = cls.__new__(cls)
        experiment._fill(settings, source, record, **how)
        return experiment

    def _fill(
        self,
        settings: Mapping[str, Any],
        source: str | None = None,
        record: Mapping[str, Any] | None = None,
        *,
        given: Mapping[str, Any] | None = None,
        recorded: bool = False,
    ) -> None:
        """Fill in what is not given, and check all. `given`: by whoever runs this program, who is told of what is of no use.
        `recorded`: fill in defaults only, and make no environment."""
        if source is not None and not recorded:
            consent.require(consent.named(settings.get("task", "cartpole"), settings.get("environment")), source)
        whole = _with_options(settings) if recorded else _with_recipe(settings)
        if isinstance(whole.get("population"), str):
            whole["population"] = automatic_population(whole["population"])
        self._set(whole, source, record)
        if given is not None:
            self.refuse_given(given)
        later = recorded and self.task.startswith("gym:")
        self._checked(task_too=not later)
        limit = None if later else self._assumed_limit()
        if limit is not None:
            logging.getLogger(__name__).warning(
                "%s: its episodes have no time limit; they end after %s steps (recorded as environment.max_steps; "
                "--max-steps gives another limit)",
                self.task,
                f"{limit:,}",
            )
            environment = self.environment.model_copy(update={"max_steps": limit})
            self._set({**whole, "environment": environment}, source, record)

    def _set(self, whole: Mapping[str, Any], source: str | None, record: Mapping[str, Any] | None) -> None:
        try:
            super().__init__(**whole)
        except ValidationError as error:
            raise ExperimentError(_explain(error)) from None
        self._source, self._record = source, dict(record or {})
        if is_profile_file(self.profile) and "profile" not in self._record:
            self._record["profile"] = read_profile(self.profile)

    def _checked(self, *, task_too: bool) -> None:
        try:
            self._check(task_too=task_too)
        except ValueError as error:
            raise ExperimentError(str(error)) from None

    def refuse_given(self, given: Mapping[str, Any]) -> None:
        """`ExperimentError` for what was given and means nothing for the task, the rule or the engine."""
        if given.keys() >= type(self).model_fields.keys():  # all of a model, from `model_dump`, is nobody's choice
            return
        chosen = {name: value for name, value in given.items() if not _is_whole(name, value)}
        refuse_given(chosen, useless(self, of_use(self.rule)))

    def check(self) -> None:
        """Check what was left out when a run folder was opened: `ExperimentError` of settings that the task cannot be
        learned with, or that name code nobody has let run."""
        self._checked(task_too=True)

    def _assumed_limit(self) -> int | None:
        """The steps that end an episode where neither the environment nor a setting says so; None: something does."""
        task = self.build_task()
        return task.max_steps if isinstance(task, GymTask) and task.limit_assumed else None

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __eq__(self, other: object) -> bool:
        """Of all settings; where they come from does not count."""
        return isinstance(other, Experiment) and self.model_dump() == other.model_dump()

    @functools.cached_property  # a file that is edited meanwhile does not change a running experiment
    def hardware(self) -> Profile:
        """The profile, with its overrides."""
        return self.hardware_with({})

    def hardware_with(self, overrides: Mapping[str, Any] | None) -> Profile:
        """The profile, with its overrides and further ones."""
        return load_profile(self.profile, {**self.profile_overrides, **(overrides or {})}, self._record.get("profile"))

    def build_task(self) -> Task:
        """The task, with the options of its environment. `ExperimentError` if that runs code which only a file names."""
        if self._source is not None:
            consent.require(self.named_code, self._source)
        return super().build_task()

    @classmethod
    def from_yaml(cls, path: str | Path, *, trust: bool = False, **overrides: Any) -> Experiment:
        """Read a YAML file (safe-loaded: it cannot construct objects); keyword arguments win over it, also within a section.

        `trust`: code that only the file names may run: modules of environments and wrappers (docs/runs.md).
        """
        return cls._from_file(path, overrides, trust)

    @classmethod
    def _from_file(cls, path: str | Path, given: Mapping[str, Any], trust: bool) -> Experiment:
        settings, record = split_record(read_yaml(path))
        if "profile" in given:
            record.pop("profile", None)
        consent.give(consent.named(given.get("task"), given.get("environment")))
        whole = merged(settings, given)
        if trust:
            consent.give(consent.named(whole.get("task"), whole.get("environment")))
        kept = {name: value for name, value in record.items() if name == "profile"}  # the rest is of another run
        return cls._made(whole, str(path), kept, given=given)

    @classmethod
    def recorded(cls, settings: Mapping[str, Any], source: str | None = None) -> Experiment:
        """The experiment of a run folder, whose file is `source`: what it does not say is the default, whatever the recipe
        has become. No environment is made and no module imported: that is done where it is played."""
        whole, record = split_record(settings)
        if whole.get("task") == "digits":  # older runs could name a folder, which decided nothing
            whole.pop("data", None)
        for section, usual in (("network", NetworkOptions()), ("environment", EnvironmentOptions())):
            if isinstance(whole.get(section, {}), Mapping):
                whole[section] = {**usual.model_dump(), **whole.get(section, {})}
        return cls._made({"max_env_steps": None, **whole}, source or "a run folder", record, recorded=True)

    def trusted(self) -> Experiment:
        """The same, after the code that it names was let run in this process (`--trust`)."""
        consent.give(self.named_code)
        return self

    def to_yaml(self) -> str:
        """All settings that mean something for the task, as YAML; `from_yaml` reads it back equal."""
        return dump_yaml(self._settings())

    def to_record(self, now: str) -> str:
        """What a run folder keeps: the settings, and in `record` what they do not say: the profile, if it is a file; the
        learning rate that `auto` is; when, with what and on what machine it was trained, a line each time.

        `now`: date and time. Read back by `recorded`.
        """
        sitting = {"date": now, **_versions()}
        record = {**self._record, "sittings": [*self._record.get("sittings", ()), sitting]}
        record["learning_rate"] = self.resolved_learning_rate
        return dump_yaml({**self._settings(), "record": record})

    def _settings(self) -> dict[str, Any]:
        settings, usual = self.model_dump(), _USUAL
        for path in useless(self, of_use(self.rule)):
            section, _, name = path.rpartition(".")
            inside, of_usual = (settings.get(section, {}), usual[section]) if section else (settings, usual)
            if name in inside and inside[name] == of_usual[name]:
                del inside[name]
        return {name: value for name, value in settings.items() if value != {} or usual[name] == {}}

    def replace(self, **changes: Any) -> Experiment:
        """A copy with some settings changed, also within a section; of another task, one's own data are read anew."""
        new = consent.named(changes.get("task", self.task), changes.get("environment"))
        consent.give(set(new) - set(self.named_code))  # the rest is not the caller's choice
        return self._replaced(changes)

    def resumed(self, config: str | Path | None, given: Mapping[str, Any], *, trust: bool = False) -> Experiment:
        """As a run of this experiment goes on: with the settings of a YAML file, and those given, which win.

        Mappings are joined, so that what is given again changes nothing. `trust`: as in `from_yaml`, also of its own.
        """
        new = consent.named(given.get("task", self.task), given.get("environment"))
        consent.give(set(new) - set(self.named_code))
        changes = dict(given) if config is None else merged(split_record(read_yaml(config))[0], given)
        if trust:
            consent.give([*self.named_code, *consent.named(changes.get("task", self.task), changes.get("environment"))])
        experiment = self._replaced(_joined(self.model_dump(), changes), None if config is None else str(config))
        experiment.refuse_given(given)
        return experiment

    def _replaced(self, changes: Mapping[str, Any], source: str | None = None) -> Experiment:
        known, record = self.model_dump(), dict(self._record)
        if changes.get("task", self.task) != self.task:
            known["dataset"]["content"] = None
        if changes.get("profile", self.profile) != self.profile:
            record.pop("profile", None)
        return Experiment._made(merged(known, changes), source or self._source, record)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every setting that decides the release probabilities; length of training and engine do not."""
        return self._fingerprint()

    @property
    def family(self) -> str:
        """The fingerprint without the seed: equal of runs that differ in nothing else."""
        return self._fingerprint(seed=0)

    @property
    def goes_on_from(self) -> frozenset[str]:
        """Fingerprints of experiments whose unfinished runs are unfinished runs of this one.

        While no environment fails, `worst_rank` decides nothing; a run that was to end at the first failure has had none.
        """
        found = {self.fingerprint}
        if self.environment.on_error == "worst_rank":
            found.add(self._fingerprint(environment=self.environment.model_copy(update={"on_error": "fail"})))
        return frozenset(found)

    def _fingerprint(self, seed: int | None = None, environment: EnvironmentOptions | None = None) -> str:
        settings = {name: value for name, value in self.model_dump().items() if name not in _NOT_IN_FINGERPRINT}
        for path, before in _YOUNGER.items():
            section = settings if len(path) == 1 else settings[path[0]]
            if path[-1] in section and section[path[-1]] == before:
                del section[path[-1]]
        if self.dataset.content is not None:  # what one's own data hold, not where they are
            settings["task"] = self.dataset.content.sha256
        del settings["dataset"]
        if not self.classifies:
            settings = {name: value for name, value in settings.items() if name not in OF_CLASSIFIERS}
        settings["seed"] = self.seed if seed is None else seed
        settings["environment"] = (environment or self.environment).deciding
        if not settings["environment"]:
            del settings["environment"]
        settings["profile"] = self.hardware.digest  # what the profile says, not what it is called
        return digest(settings)

    def finished(self, generation: int, env_steps: int) -> bool:
        """Whether training is over after so many generations and environment steps."""
        return generation >= self.generations or (self.max_env_steps is not None and env_steps >= self.max_env_steps)

    @property
    def length(self) -> str:
        """How long it trains, as text."""
        generations = counted(self.generations, "generation")
        if self.max_env_steps is None:
            return generations
        steps = f"{self.max_env_steps:,} environment steps"  # of which a sample plays one at least
        return steps if self.generations * self.population >= self.max_env_steps else f"{generations}, at most {steps}"

    def differences(self, other: Experiment) -> str:
        """The settings in which two experiments differ, as text: 'population 256 → 128, …'."""
        mine, theirs = _flat(self.model_dump()), _flat(other.model_dump())
        unused = (*_NOT_IN_FINGERPRINT, *(("task",) if self.dataset.content and other.dataset.content else ()))
        changed = [
            name
            for name in {**mine, **theirs}
            if name not in unused and repr(mine.get(name, _UNSET)) != repr(theirs.get(name, _UNSET))
        ]
        return ", ".join(f"{name} {_shown(mine.get(name, _UNSET))} → {_shown(theirs.get(name, _UNSET))}" for name in changed)

    @property
    def title(self) -> str:
        """One line that says what is run."""
        return f"{self.task} with {self.rule}: {self._trials} per generation, {self.length}, seed {self.seed}"

    @property
    def label(self) -> str:
        """What tells this experiment from others of its task, for the legend of a picture (without the seed)."""
        rate = self.learning_rate if self.learning_rate == "auto" else f"{self.learning_rate:g}"
        if self.weight_rule is not None:
            disturbed = [f"{name} = {value}" for name, value in _flat(self.environment.disturbed).items()]
            parts = [self.rule, self._trials, f"rate {rate}", *self._changed_options(), *disturbed]
            return ", ".join(parts)
        parts = [f"N = {self.population}", f"{self.optimizer} {rate}"]
        if self.halve_learning_rate_every is not None:
            parts.append(f"halved every {self.halve_learning_rate_every}")
        if self.reward_transform != "centered_rank":
            parts.append(self.reward_transform)
        if self.reservoir:
            parts.append("reservoir")
        if self.profile != "ideal" or self.profile_overrides:
            overrides = (f"{path.split('.')[-1]} = {value}" for path, value in self.profile_overrides.items())
            parts.append(" ".join([Path(self.profile).stem, *overrides]))
        parts += [f"{name} = {value}" for name, value in _flat(self.environment.deciding).items()]
        return ", ".join([*parts, *self._changed_options()])

    @property
    def classifies(self) -> bool:
        """Whether the task is to tell images apart; what an evaluation returns is then the accuracy on test images."""
        return is_classified(self.task)

    def refuse_unused(self) -> None:
        """`ExperimentError` for settings that would decide nothing in a new run; older runs that have them stay readable."""
        if not self.classifies or self.weight_rule is not None:
            return
        if self.layers.neurons == "lif":
            for name, instead in (("n_neurons", "hidden"), ("excitatory_ratio", "ei")):
                if getattr(self.network, name) != NetworkOptions.model_fields[name].default:
                    raise ExperimentError(f"network.{name}: layers.{instead} says this of {self.task}; set that instead")
            return
        for path in self.profile_overrides:
            if path.partition(".")[0] not in ("learning_storage", "release"):
                raise ExperimentError(
                    f"profile_overrides.{path}: {self.task} is classified by networks without spikes, which have no use for "
                    "it; leave it out, or set layers.neurons to lif"
                )

    @property
    def _trials(self) -> str:
        """What a generation consists of."""
        if self.weight_rule is None:
            return f"{self.population} samples"
        return f"{self.population} {'images' if self.classifies else 'episodes'}"

    def _changed_options(self) -> list[str]:
        usual = _OPTIONS[self.rule]().model_dump() if self.rule in _OPTIONS else {}
        return [f"{name} = {value}" for name, value in self.rule_options.items() if value != usual.get(name)]

    def build_network(self) -> Network | LayeredNetwork:
        """The network this experiment trains."""
        task = self.build_task()
        if isinstance(task, ClassifyTask):
            if self.layers.neurons == "lif":
                return Network(self._options_of_layer(), math.prod(task.shape), task.n_outputs, pictures=True)
            return LayeredNetwork(self.layers, task.shape, task.n_outputs)
        return Network(self.network, task.n_observations, task.n_outputs, self.reservoir, one_hot=task.one_hot)

    def _options_of_layer(self) -> NetworkOptions:
        """`network`, with the size and signs of `layers`."""
        excitatory, inhibitory = map(int, self.layers.ei.split(":"))
        changes = {"n_neurons": self.layers.hidden[0], "excitatory_ratio": excitatory / (excitatory + inhibitory)}
        return NetworkOptions(**{**self.network.model_dump(), **changes})

    def spiking_network(self, what: str) -> Network:
        """The network, for `what`, which needs spikes; `ExperimentError` if it has none."""
        if self.weight_rule is not None:
            raise no_release(self.rule)
        network = self.build_network()
        if not isinstance(network, Network):
            raise ExperimentError(f"{what}: the network of this {self.task} run has no spikes; train one with --neurons lif")
        return network

    def deployed_task(self, what: str) -> EpisodeTask:
        """The task as episodes of a deployed network, for `what`; test images are episodes of one step."""
        task = self.build_task()
        self.spiking_network(what)
        if isinstance(task, ClassifyTask):
            return picture_episodes(task, load_data(self.task, self.data, task.test_noise, task.dataset))
        return self.compiled_task(what)

    def build_rule(self, generation: int = 0) -> Rsrp:
        """The plasticity rule, with the learning rate of a generation."""
        kept = self.hardware.learning_storage
        storage = Storage(kept.p_bits, kept.rounding, kept.zero, kept.one)
        rule, rate = _RULES[self.rule], self.resolved_learning_rate
        if self.halve_learning_rate_every is not None:
            rate = math.ldexp(rate, -(generation // self.halve_learning_rate_every))
        constants = (OPTIMIZERS[self.optimizer], rate, self.epsilon, self.decay, storage)
        return Satr(*constants, SatrOptions(**self.rule_options)) if rule is Satr else rule(*constants)

    def build_weight_rule(self, seed: int | None = None) -> WeightRule:
        """The rule that keeps weights, for this task; `seed` replaces the experiment's."""
        rule = self.weight_rule
        if rule is None:
            raise ExperimentError(f"rule {self.rule}: keeps release probabilities, no weights; use build_rule")
        seed = self.seed if seed is None else seed
        problem = Problem(self.build_task(), self.resolved_learning_rate, seed, self.network, self.data)
        return rule(problem, rule.Options(**self.rule_options))

    def build_draw(self) -> ReleaseDraw:
        """How synapses draw their releases."""
        return ReleaseDraw.of(self.hardware.release, self.comparator_bits)

    @property
    def resolved_learning_rate(self) -> float:
        """`learning_rate`; `auto` is 0.5·√N for sgd (a tenth for momentum, 0.15 for adam), four times that for the rules
        hedonistic and satr, over the task's return scale for transforms that keep the scale of the reward. Rules that keep
        weights have a rate of their own."""
        if self.learning_rate != "auto":
            return self.learning_rate
        if self.weight_rule is not None:
            return self.weight_rule.automatic_rate
        rate = _RULES[self.rule].automatic_factor * OPTIMIZERS[self.optimizer].automatic_rate(self.population)
        if self.reward_transform in SCALED_BY_REWARD and self.optimizer != "adam":
            rate /= self.build_task().return_scale
        return rate


def distinct_labels(experiments: Sequence[Experiment], given: Sequence[str] | None = None) -> list[str]:
    """Names for a legend: the settings in which the experiments differ, but for the seed; of a single one its `label`.

    Where there are several tasks, the task, and of its settings those in which its own experiments differ. Where all are
    alike (a file was changed, say) they are numbered. `given` are taken instead; `ExperimentError` if they are not as many.
    """
    if given is not None:
        if len(given) != len(experiments):
            raise ExperimentError(
                f"labels: {counted(len(given), 'label')} ({', '.join(given)}) for {counted(len(experiments), 'curve')} "
                f"({'; '.join(distinct_labels(experiments))}); give one for each, in this order"
            )
        return list(given)
    if len(experiments) == 1:
        return [experiments[0].label]
    settings = [_telling(experiment) for experiment in experiments]
    tasks = [one["task"] for one in settings]
    labels = []
    for own in settings:
        alike = [one for one, task in zip(settings, tasks, strict=True) if task == own["task"]]
        parts = [own["task"]] if len(set(tasks)) > 1 else []
        labels.append(", ".join([*parts, *_differing(own, alike)]))
    return [_numbered(labels, place) for place in range(len(labels))]


def _differing(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings of one experiment that are not the same in all, as text."""
    missing = object()
    names = [name for name in dict.fromkeys(key for one in others for key in one) if name != "seed"]
    differ = [name for name in names if any(one.get(name, missing) != own.get(name, missing) for one in others)]
    given = [_setting_shown(name, own[name], differ) for name in differ if name in own]
    # Of an environment's arguments it says something that one is left at the environment's default.
    return given + [f"{_short(name, differ)} not given" for name in differ if name not in own and "environment." in name]


def _telling(experiment: Experiment) -> dict[str, Any]:
    """The settings that decide what is learned, by their path, as they are shown."""
    dump = experiment.model_dump(exclude=set(_NOT_IN_FINGERPRINT) - {"data"})
    dump["profile"] = Path(experiment.profile).stem
    dump["environment"]["wrappers"] = " ".join(
        wrapper.name + "".join(f" {name}={value}" for name, value in wrapper.kwargs.items())
        for wrapper in experiment.environment.wrappers
    )
    dump.pop("dataset")
    content = experiment.dataset.content
    return _flat(dump) | ({"content": content.sha256[:8]} if content else {})


def _setting_shown(name: str, value: Any, beside: Sequence[str]) -> str:
    """As short as it is clear beside the other names."""
    if value is None or value == "":
        value = "none"
    shown = f"{value:g}" if isinstance(value, float) else value
    if isinstance(value, list | tuple):
        shown = " ".join(map(str, value))
    if name in ("task", "rule", "profile", "optimizer", "reward_transform"):
        return f"{shown}"
    return f"{_short(name, beside)} = {shown}"


def _short(name: str, beside: Sequence[str]) -> str:
    last = name.rpartition(".")[2]
    if sum(other.rpartition(".")[2] == last for other in beside) > 1:
        return name
    return {"population": "N", "learning_rate": "rate"}.get(name, last)


def _numbered(labels: Sequence[str], place: int) -> str:
    """Equal ones get a number."""
    label = labels[place] or "the same settings"
    return f"{label} ({list(labels[: place + 1]).count(labels[place])})" if list(labels).count(labels[place]) > 1 else label


_USUAL = {name: field.get_default(call_default_factory=True) for name, field in _Fields.model_fields.items()}
_USUAL = {name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in _USUAL.items()}


def _is_whole(name: str, value: Any) -> bool:
    """Whether a section was given with all its settings."""
    return name in SECTIONS and isinstance(value, Mapping) and value.keys() >= SECTIONS[name].model_fields.keys()


def _versions() -> dict[str, str]:
    """Of this program, of what computes, and of the machine."""
    import numba

    from rsrp_lava import __version__

    return {
        "rsrp_lava": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "machine": platform.platform(),
    }


def _with_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded settings, with options of the rule that are younger than they at their defaults."""
    rule = settings.get("rule", "rsrp")
    known = isinstance(rule, str) and rule in _OPTIONS
    return {**settings, "rule_options": _whole_options(rule, {}, settings)} if known else dict(settings)


def _with_recipe(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, and what the task's recipe says of those that are not given."""
    task, rule, layers = settings.get("task", "cartpole"), settings.get("rule", "rsrp"), settings.get("layers")
    layers = layers if isinstance(layers, Mapping) else {}
    spiking = layers.get("neurons") == "lif"
    keeps_weights = isinstance(rule, str) and rule in WEIGHT_RULES
    options = _environment_or_usual(settings.get("environment"))
    settings, dataset = dict(settings), _own_dataset(task, settings.get("dataset"))
    if dataset is not None:
        task = whole_name(task)
        settings |= {"task": task, "dataset": dataset}
    named = task if dataset is None else dataset.recipe
    start = recipe(named, spiking, rule if keeps_weights else None, options) if isinstance(task, str) else {}
    if isinstance(rule, str) and rule in _OPTIONS:
        settings["rule_options"] = _whole_options(rule, start, settings)
    for section in ("layers", "network", "environment"):
        given, known = settings.get(section), start.get(section)
        if isinstance(given, Mapping) and isinstance(known, Mapping) and (section != "layers" or spiking):
            settings[section] = {**known, **given}
    return {**start, **settings}


def merged(below: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings over others; of a section that both have, the settings in it. `ExperimentError` of one that has none."""
    whole = {**below, **given}
    for section, model in SECTIONS.items():
        if isinstance(given.get(section), Mapping) and section in below:
            if not isinstance(below[section], Mapping):
                raise ExperimentError(f"{section}: {_shown(below[section])} — {_must_hold(model)}")
            whole[section] = {**below[section], **given[section]}
    return whole


def _joined(known: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes; a mapping with all that was known of it."""
    return {
        name: {**known[name], **_joined(known[name], value)}
        if isinstance(value, Mapping) and isinstance(known.get(name), Mapping)
        else value
        for name, value in changes.items()
    }


def split_record(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a file, and what a run folder keeps beside them ({} of other files)."""
    whole = dict(settings)
    record = whole.pop("record", {})
    if not isinstance(record, Mapping) or not isinstance(record.get("profile", {}), Mapping):
        raise ExperimentError(f"record: {_shown(record)} — is written by the program; leave it out, or as it was")
    return whole, dict(record)


def _environment_or_usual(given: Any) -> EnvironmentOptions:
    """The options that a recipe depends on; what is wrong with them is said when all settings are checked."""
    try:
        if isinstance(given, EnvironmentOptions):
            return given
        return EnvironmentOptions(**given) if isinstance(given, Mapping) else EnvironmentOptions()
    except ValidationError:
        return EnvironmentOptions()


#: `population: auto`. Fewer samples learn from fewer steps, but rank worse; docs/learning.md has the measurements.
AUTOMATIC_POPULATION = 32


def automatic_population(population: str) -> int | str:
    """What `auto` and `auto:WORKERS` stand for; any other text as it is.

        auto → 32;   auto:W → the least power of two that keeps W workers busy with two samples each, at least 32

    A number comes out, and is what the record holds: it depends on what was asked for, never on the machine.
    """
    if not population.startswith("auto"):
        return population
    workers = population.removeprefix("auto").removeprefix(":")
    if population != "auto" and not (workers.isdecimal() and 1 <= int(workers) <= 2**19):
        raise ExperimentError(
            f"population: {population!r} — give auto, auto:WORKERS with 1 to {2**19} workers, such as auto:64, or a number"
        )
    return max(AUTOMATIC_POPULATION, 2 ** (2 * int(workers or 1) - 1).bit_length())


def no_release(rule: str) -> ExperimentError:
    """A rule that keeps weights was asked for what only release probabilities can give."""
    return ExperimentError(
        f"rule {rule}: keeps weights, no release probabilities; use a run of rule rsrp, hedonistic or satr for this"
    )


def of_use(rule: str) -> frozenset[str]:
    """Names of the settings that a rule has a use for, on some task."""
    kept, without = WEIGHT_RULES.get(rule), set() if rule in _OPTIONS else {"rule_options"}
    return frozenset({*_OF_WEIGHT_RULES, *kept.settings} if kept else _Fields.model_fields.keys() - without)


def _whole_options(rule: str, start: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a rule: those given, then the recipe's, then the usual ones. Raises `ExperimentError`."""
    given, known = settings.get("rule_options") or {}, start.get("rule_options", {})
    if not isinstance(given, Mapping):
        raise ExperimentError(f"rule_options: {given!r} — must hold settings, such as {{noise: 0.1}}")
    try:
        return _OPTIONS[rule](**{**known, **given}).model_dump()
    except ValidationError as error:
        raise ExperimentError(_explain(error, _OPTIONS[rule], "rule_options.")) from None


def _own_dataset(task: Any, given: Any) -> DatasetOptions | None:
    """How one's own data are read and what they hold; None of other tasks. Raises `DataError`, `ExperimentError`."""
    if not isinstance(task, str) or not is_own(task):
        return None
    try:
        options = given if isinstance(given, DatasetOptions) else DatasetOptions.model_validate(given or {})
    except ValidationError as error:
        raise ExperimentError(_explain(error, DatasetOptions, "dataset.")) from None
    return pinned(whole_name(task), options)


_UNSET = object()


def _shown(value: Any) -> str:
    """A value in a message, of which it is to be a small part."""
    return "not set" if value is _UNSET else value[:200] if isinstance(value, str) else reprlib.repr(value)


def _must_hold(model: type[BaseModel]) -> str:
    return f"must hold settings, such as {{{_EXAMPLES.get(model.__name__, 'n_neurons: 256')}}}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


#: Bytes of a file of settings; of one's own data it names up to 65,536 classes.
LARGEST_SETTINGS = 2**22


def read_yaml(path: str | Path, *, run: bool = False) -> dict[str, Any]:
    """Settings from a YAML file, as a mapping; `ExperimentError` says what is wrong with the file.

    `run`: of a run folder. Those without a `record` are of an older program, which wrote numbers as YAML 1.1 has them.
    """
    try:
        text = read_file(path, LARGEST_SETTINGS).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path}: cannot be read ({_reason(error)}); give the path of a YAML text file") from None
    try:
        settings = parse_yaml(text)
        if run and isinstance(settings, dict) and "record" not in settings:
            settings = parse_yaml(text, old=True)
    except yaml.constructor.ConstructorError as error:
        raise ExperimentError(
            f"{path}: {error.problem} — only plain values are allowed, a file cannot construct objects{_place(error)}"
        ) from None
    except yaml.MarkedYAMLError as error:
        raise ExperimentError(f"{path}: not valid YAML: {error.problem}{_place(error)}") from None
    except yaml.YAMLError as error:
        raise ExperimentError(f"{path}: not valid YAML: {error}") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ExperimentError(f"{path}: must hold settings, one 'name: value' a line, not {reprlib.repr(settings)}")
    return settings


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _explain(error: ValidationError, model: type[BaseModel] = _Fields, prefix: str = "") -> str:
    """What is wrong with each setting: its path, what was given, and why that cannot be."""
    problems: dict[str, list[str]] = {}
    for mistake in error.errors():
        what, problem = _explain_one(mistake, model, prefix)
        problems.setdefault(what, []).append(problem)
    return "; ".join(what + ", or ".join(alternatives) for what, alternatives in problems.items())


def _explain_one(mistake: Mapping[str, Any], model: type[BaseModel], prefix: str) -> tuple[str, str]:
    location = [str(part) for part in mistake["loc"] if part not in ("float", "int", "literal['auto']", "constrained-int")]
    path = prefix + ".".join(location)
    if mistake["type"] == "extra_forbidden":
        model = SECTIONS.get(location[0], model) if len(location) > 1 else model
        known = {name: prefix + ".".join([*location[:-1], name]) for name in model.model_fields}
        close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean '{known[close[0]]}'?" if close else f"known: {', '.join(known.values())}"
        if path in _GIVEN_TO_TRAIN:
            return f"{path}: ", f"is no setting; give it to train, as --{path.replace('_', '-')} or {path}="
        return f"{path}: ", f"no such setting; {hint}"
    if mistake["type"] == "value_error":
        return "", str(mistake["ctx"]["error"])
    value = mistake["input"]
    shown = value if isinstance(value, str) else reprlib.repr(value)  # an option's value arrives as text
    if path == "task" and value is not None and not isinstance(value, int | float | list | dict):
        name = type(value).__name__
        return "task: ", (
            f"{shown[:80]} is of type {name}, and a task is given by its name; of an environment of your own: "
            f"gymnasium.register('My-v0', {name}), and task='gym:My-v0' (or gym:MODULE:My-v0 of a module that registers it)"
        )
    if mistake["type"] == "model_type":
        return f"{path}: {shown[:200]} — ", _must_hold(_model_at(location, model))
    return f"{path}: {shown[:200]} — ", _WORDS.get(mistake["type"], mistake["msg"][0].lower() + mistake["msg"][1:])


def _model_at(location: list[str], model: type[BaseModel]) -> type[BaseModel]:
    return WrapperOptions if location[:2] == ["environment", "wrappers"] else SECTIONS.get(location[0], model)
