"""Options, YAML files and profiles that nobody meant: every command ends with exit code 0 or 2, and no traceback.

Commands and options are asked of the program itself, so that a new one is attacked without being named here. All runs in
this process, as `rsrp-lava` does; sizes are absurd or small, never large and legal, since those may rightly take long.
"""

import contextlib
import io
import os
import resource
import shutil
import signal
import sys
import warnings

import hypothesis
import pytest
import typer
import yaml
from hypothesis import strategies as st
from numba.core.compiler_lock import global_compiler_lock

from rsrp_lava import Experiment, cli, machine, train
from rsrp_lava.experiment import _Fields
from rsrp_lava.hardware_profiles import load_profile, profile_values
from rsrp_lava.network import LayeredOptions, NetworkOptions
from rsrp_lava.tasks import EnvironmentOptions
from rsrp_lava.tasks.data import DatasetOptions

LIMIT_S, LIMIT_KIB = 60, 2 * 2**20

# --- values ------------------------------------------------------------------------------------------------------------

NUMBERS = [
    "0",
    "-1",
    "1",
    "2",
    "4",
    "3.5",
    "1e3",
    "1e-300",
    "1e999",
    "nan",
    "inf",
    "-inf",
    ".inf",
    "0x10",
    "1_0",
    "٣",
    "9" * 40,
]
TEXTS = [
    "",
    " ",
    "auto",
    "auto:0",
    "auto:-3",
    "none",
    "null",
    "true",
    "~",
    "a" * 300,
    "ü∂ş",
    "\udcff",
    "'",
    '"',
    "{}",
    "[]",
    "{a: 1}",
]
TEXTS += [
    "[1, 2",
    "1,2,,3",
    ",",
    "=",
    "a=",
    "=1",
    "a=1",
    "a=[1",
    "a.b.c=1",
    "network=3",
    "3:1",
    "16,nearest",
    "%s",
    "{0}",
    "\\",
    "$\\foo$",
]
TEXTS += [
    "-",
    "--",
    "x: y",
    "!!python/object:os.system",
    "&a [*a]",
    "2001-01-01",
    "1:1",
    "1:1 mirrored",
    "b0.5",
    "lfsr:3",
    "0:0",
]
NAMES = [
    "cartpole",
    "gridworld",
    "digits",
    "gym:CartPole-v1",
    "gym:",
    "gym::",
    "gym:a:b:c",
    "images:",
    "images:/",
    "data:",
    "data:/x.npz",
]
NAMES += [
    "rsrp",
    "hedonistic",
    "satr",
    "nrl",
    "sgd",
    "adam",
    "momentum",
    "zero_mean",
    "loihi2",
    "generic-int8",
    "ideal",
    "odin",
]
NAMES += [
    "npz",
    "threshold",
    "frozen_sample",
    "axonal",
    "knock_out",
    "body.pole_length",
    "body.x",
    "accuracy",
    "soft_recall",
    "lif",
]
PATHS = [
    ".",
    "/",
    "/dev/null",
    "missing",
    "a/b/c",
    "run",
    "run/config.yaml",
    "hostile.yaml",
    "profile.yaml",
    "text.txt",
    "empty",
    "~",
]
PATHS += ["out.png", "out.gif", "out.pdf", "no/where/out.png", "x" * 400, "ünï", "\udcff.png"]
hostile_text = st.one_of(
    st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.sampled_from(NAMES), st.sampled_from(PATHS), st.text(max_size=12)
).filter(lambda text: "\0" not in text)

plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.sampled_from([2**63, -(2**63), 10**40, 1e300, 1e-300, float("nan"), float("inf"), -0.0]),
    st.sampled_from(TEXTS + NAMES + NUMBERS).filter(lambda text: "\udcff" not in text),
)
nested = st.recursive(
    plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(plain, inner, max_size=3)), max_leaves=6
)


def fields(model, **sections):
    """Settings of a model: known names or not, small, hostile, or a section."""
    names = [*sorted(model.model_fields), "", "nope", "tasks", "0"]
    value = {name: st.one_of(section, nested) for name, section in sections.items()}
    return st.lists(st.sampled_from(names), max_size=3, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({name: value.get(name, nested) for name in chosen})
    )


settings_files = fields(
    _Fields,
    network=fields(NetworkOptions),
    layers=fields(LayeredOptions),
    environment=fields(EnvironmentOptions),
    dataset=fields(DatasetOptions),
)
PROFILE_PATHS = sorted(profile_values(load_profile("generic-int8")))


@st.composite
def profile_files(draw):
    """A profile that changes some numbers of another one, or its outer form."""
    content = {
        "name": "attacked",
        "extends": draw(st.sampled_from(["generic-int8", "loihi2", "ideal", "attacked", "", 3, None])),
    }
    for path in draw(st.lists(st.sampled_from(PROFILE_PATHS), max_size=3, unique=True)):
        *sections, last = path.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        fact = {"value": draw(nested), "unit": "bit", "source": "attack", "status": "inferred"}
        place[last] = draw(st.sampled_from([fact, fact["value"], {**fact, "status": "sure"}, {}, []]))
    if draw(st.integers(0, 3)) == 0:
        content[draw(st.sampled_from([*content, "nope", ""]))] = draw(nested)
    return content


raw_files = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [b"\xff\xfe", b"a: &a [*a]", b"a: b: c", b"{" * 500, b"- 1\n- 2", b"3", b"!!set {a}", b"? [a]\n: b", b"\x00"]
    ),
)

# --- commands ----------------------------------------------------------------------------------------------------------


def commands(group=None, prefix=()):
    """Every command's words, and its parameters."""
    group = group or typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name), [param for param in command.params if param.name != "help"]


COMMANDS = dict(commands())
#: What keeps a command small where nothing else is given; what is attacked comes after it, and wins.
TINY = ["--population", "4", "--generations", "1"]
SMALL = {
    ("train",): ["--evaluation-episodes", "2", "--max-steps", "9", "--max-time", "2", "--threads", "1", *TINY],
    ("evaluate",): ["--episodes", "2", "--threads", "1"],
    ("watch",): ["--once"],
    ("deploy",): ["--to", "npz", "--episodes", "1", "-o", "deployed"],
    ("record",): ["--max-steps", "3"],
    ("compare",): ["--rules", "rsrp", "--seeds", "1", "-o", "study", "--threads", "1", *TINY],
    ("study", "quantization"): [
        "--axes",
        "bits",
        "--bits",
        "4",
        "--rounding",
        "nearest",
        "--seeds",
        "1",
        "-o",
        "study",
        *TINY,
    ],
    ("study", "robustness"): [
        "--perturbations",
        "knock_out",
        "--knock-out",
        "0.5",
        "--draws",
        "1",
        "--episodes",
        "2",
        "-o",
        "study",
    ],
    **{
        ("study", name): ["--seeds", "1", "--no-baseline", "-o", "study", "--generations", "1"]
        for name in ("samples", "rewards", "transforms", "ei")
    },
}
FIRST = {
    ("train",): ["cartpole", "gridworld", "digits", "gym:CartPole-v1", "--resume=run", "--config=settings.yaml"],
    ("compare",): ["cartpole"],
    ("study", "quantization"): ["cartpole"],
    **{
        ("study", name): ["nope"] for name in ("samples", "rewards", "transforms", "ei")
    },  # that they train, other tests show
    **{
        ("evaluate",): ["run"],
        ("watch",): ["run"],
        ("plot",): ["run"],
        ("deploy",): ["run"],
        ("record",): ["run"],
        ("map",): ["run"],
    },
    ("study", "robustness"): ["run"],
}
#: Values that start a cluster, a graph, or minutes of honest work.
LONG = {"lava", "ray", "nir"}


@st.composite
def cases(draw):
    """Arguments, and the files they may name."""
    words = draw(st.sampled_from([*sorted(COMMANDS), *[("train",)] * 12, ("map",), ("deploy",), ("profiles",)]))
    first = draw(st.sampled_from(FIRST.get(words, [""]) * 4 + PATHS + TEXTS)) if words in FIRST else draw(hostile_text)
    arguments = [*words, *([first] if first else []), *SMALL.get(words, [])]
    options = [param for param in COMMANDS[words] if param.opts[0].startswith("-")]
    for option in draw(st.lists(st.sampled_from(options), max_size=3, unique_by=lambda o: o.name)) if options else []:
        names = [*option.opts, *option.secondary_opts, option.opts[0] + "x"]
        name = draw(st.sampled_from(names[:1] * 6 + names))
        if getattr(option, "is_flag", False):
            arguments.append(name)
        else:
            value = draw(hostile_text)
            arguments += [name, value] if draw(st.booleans()) else [f"{name}={value}"]
    files = {
        "settings.yaml": draw(st.one_of(settings_files.map(_with_task), settings_files, raw_files)),
        "profile.yaml": draw(st.one_of(profile_files(), raw_files)),
    }
    if draw(st.integers(0, 4)) == 0 and any("--config" in param.opts for param in options):
        arguments += ["--config", "settings.yaml"]
    if draw(st.integers(0, 3)) == 0 and any("--profile" in param.opts for param in options):
        arguments += ["--profile", "profile.yaml"]
    if words == ("profiles",) and draw(st.booleans()):
        arguments = ["profiles", "profile.yaml"]
    hypothesis.assume(not any(value in LONG or value.partition("=")[2] in LONG for value in arguments))
    return arguments, files


def _with_task(settings):
    return {"task": "cartpole", **settings}


class TooLong(BaseException):
    """A command took more than its time."""


def _too_long(*signalled):
    """An exception inside LLVM would be lost: compiling is let go on for a while."""
    if global_compiler_lock.is_locked():
        signal.setitimer(signal.ITIMER_REAL, 5)
    else:
        raise TooLong


@contextlib.contextmanager
def guarded():
    """A minute of processor time, and ten on the clock: other work decides nothing. The machine is said to have 1 GiB, so
    that sizes beyond are refused, not tried."""
    before = {number: signal.signal(number, _too_long) for number in (signal.SIGALRM, signal.SIGPROF)}
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    signal.setitimer(signal.ITIMER_REAL, 10 * LIMIT_S)
    told, machine.memory_bytes = machine.memory_bytes, lambda: 2**30
    try:
        yield
    finally:
        machine.memory_bytes = told
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def called(arguments):
    """Exit code, stdout and stderr of the command line, in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    argv, sys.argv = sys.argv, ["rsrp-lava", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings(), guarded():
            warnings.simplefilter("error", RuntimeWarning)
            cli.main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv = argv
    return code, *(stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A folder with a trained run, in which cases play."""
    folder = tmp_path_factory.mktemp("attacks")
    experiment = Experiment(population=4, generations=1, evaluation_episodes=2, network={"n_neurons": 16})
    train(experiment, out=folder / "kept", threads=1)
    train(experiment.replace(profile="generic-int8"), threads=1)  # kernels of integers are compiled, too
    return folder


def attack(bench, case):
    """Play a case in a fresh folder beside the run."""
    arguments, files = case
    folder, here = bench / "case", os.getcwd()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bench / "kept", folder / "run")
    (folder / "empty").mkdir()
    (folder / "text.txt").write_text("words\n")
    (folder / "hostile.yaml").write_text("task: cartpole\nnetwork: []\n")
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else yaml.safe_dump(content, sort_keys=False).encode()
        (folder / name).write_bytes(raw)
    try:
        os.chdir(folder)
        code, out, err = called(arguments)
    finally:
        os.chdir(here)
    assert code in (0, 2), (code, err)
    assert "Traceback" not in out + err, err
    assert code == 0 or err.strip(), "refused without a word"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < LIMIT_KIB


def fuzz(examples):
    phases = (hypothesis.Phase.generate,)
    checks = list(hypothesis.HealthCheck)
    return hypothesis.settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, phases=phases, suppress_health_check=checks
    )


@fuzz(40)
@hypothesis.given(case=cases())
def test_few_hostile_cases(bench, case):
    attack(bench, case)


@pytest.mark.slow
@fuzz(1600)
@hypothesis.given(case=cases())
def test_hostile_cases(bench, case):
    attack(bench, case)
