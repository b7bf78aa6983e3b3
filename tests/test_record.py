"""`record`: the episode that evaluation plays, in Gymnasium's own environment, as an animation."""

import json
import os
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from PIL import Image

import naive
from rsrp_lava import Experiment, ExperimentError, Run, RunFolderError, load_run, recording
from rsrp_lava.engines import open_local
from rsrp_lava.errors import EngineError
from rsrp_lava.learners import State
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.recording import record
from rsrp_lava.reporting.animation import animation_format
from rsrp_lava.threads import Threads

SMALL = {"population": 8, "generations": 2, "evaluation_episodes": 4, "seed": 3, "network": {"n_neurons": 32}}
DRAWN = "gym:drawn_environment:Drawn-v0"


@pytest.fixture
def pygame():
    """What draws Gymnasium's classic control."""
    return pytest.importorskip("pygame", reason="pygame is not installed (extra record)")


def untrained(task, **environment):
    """A run that never was: every synapse releases or not at random, so that its outputs say something."""
    experiment = Experiment(task=task, environment=environment, **SMALL)
    random, network = np.random.default_rng(5), experiment.build_network()
    rho = {p.name: random.random((p.n_pre, p.n_post)).astype(np.float32) for p in network.projections}
    state = State(1, rho, {}, Normaliser.start(experiment.build_task().n_observations))
    return Run(Path("untrained"), experiment, state, [])


def evaluated(run, episode):
    """Return and steps of this evaluation episode, as the engine plays it among others."""
    engine = open_local(run.experiment, Threads(1), run.experiment.seed)
    engine.prepare(None)
    played = engine.play(run.probabilities, run.normaliser, run.generation, episode + 1, deterministic=True)
    engine.close()
    return played.returns[episode], played.steps[episode]


def pictures(path):
    """All pictures of a GIF, uint8, and for how many ms each is shown."""
    with Image.open(path) as image:
        shown, times = [], []
        for k in range(image.n_frames):
            image.seek(k)
            shown.append(np.array(image.convert("RGB")))
            times.append(image.info["duration"])
    return np.array(shown), times


# --- episodes ----------------------------------------------------------------------------------------------------------


def test_a_gif_shows_the_episode_that_evaluation_plays(pygame, run, tmp_path):
    output, seen = tmp_path / "episode.gif", []
    trained = load_run(run)
    report = record(run, output=output, episode=5, progress=lambda done, of: seen.append((done, of)))
    earned, steps = evaluated(trained, 5)
    assert report == {
        "run": str(run),
        "task": "cartpole",
        "seed": 3,
        "episode": 5,
        "return": earned,
        "env_steps": steps,
        "frames": steps + 1,
        "fps": 50,
        "output": str(output),
        "evaluation_return": earned,
        "same_as_evaluation": True,
    }
    shown, times = pictures(output)
    assert (len(shown), set(times)) == (steps + 1, {20})
    assert seen == [(0, 500), *((done, steps) for done in range(steps + 1))]
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    env.reset()
    env.unwrapped.state = -0.05 + 0.1 * naive.uniforms(3, 4, 5, naive.TASK + naive.EVALUATION, 4)
    np.testing.assert_array_equal(shown[0], env.render())
    assert (shown[0] != shown[-1]).any()


@pytest.mark.parametrize("task", ["acrobot", "mountain_car", "mountain_car_continuous", "pendulum", "gym:CartPole-v1"])
def test_compiled_tasks_are_played_in_gymnasium_to_the_same_return(pygame, tmp_path, task):
    run = untrained(task)
    report = record(run, output=tmp_path / "a.gif", episode=1, max_steps=40)
    assert report["return"] == report["evaluation_return"] == evaluated(untrained(task, max_steps=40), 1)[0]
    assert report["same_as_evaluation"]
    assert len(pictures(tmp_path / "a.gif")[0]) == report["env_steps"] + 1 <= 41


def test_episodes_and_seeds_differ(pygame, tmp_path):
    run = untrained("pendulum")
    choices = [{}, {"episode": 1}, {"seed": 4}]
    returns = [record(run, output=tmp_path / "a.gif", max_steps=9, **choice)["return"] for choice in choices]
    assert len(set(returns)) == 3


@pytest.mark.parametrize("body", ["InvertedDoublePendulum-v5", "Hopper-v5"])
def test_bodies_are_drawn_without_a_display(tmp_path, monkeypatch, body):
    pytest.importorskip("mujoco", reason="MuJoCo is not installed (extra mujoco)")
    try:
        recording._way_to_draw("a body")
    except ExperimentError as error:
        pytest.skip(str(error))
    monkeypatch.delenv("DISPLAY", raising=False)
    before = os.environ.get("MUJOCO_GL")
    report = record(untrained(f"gym:{body}"), output=tmp_path / "a.gif", max_steps=8)
    assert report["same_as_evaluation"]
    assert report["return"] == pytest.approx(evaluated(untrained(f"gym:{body}", max_steps=8), 0)[0], rel=1e-9)
    shown, _ = pictures(tmp_path / "a.gif")
    assert len(shown) == report["frames"] == report["env_steps"] + 1
    assert all(len(np.unique(picture)) > 20 for picture in shown)
    assert (shown[0] != shown[-1]).any()
    assert os.environ.get("MUJOCO_GL") == before


def test_an_environment_that_is_stepped_in_python(tmp_path):
    run = untrained(DRAWN)
    report = record(run, output=tmp_path / "a.gif", episode=2)
    assert (report["return"], report["env_steps"]) == evaluated(run, 2)
    assert (report["frames"], report["fps"], report["same_as_evaluation"]) == (21, 25, True)
    shown, times = pictures(tmp_path / "a.gif")
    assert shown.shape == (21, 5, 7, 3)
    np.testing.assert_array_equal(shown[:, 0, 0, 0], 10 * np.arange(21))
    assert set(times) == {40}


def test_an_episode_that_evaluation_does_not_play_is_said(tmp_path):
    report = record(untrained(DRAWN, kwargs={"fault": "differ"}), output=tmp_path / "a.gif")
    assert (report["return"], report["same_as_evaluation"]) == (0, False)
    assert report["evaluation_return"] != 0


# --- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fps", "shown_fps", "ms"), [(25, 25, 40), (30, 100 / 3, 30), (125, 50, 20), (0.5, 0.5, 2000)])
def test_a_gif_is_as_fast_as_asked_for_or_as_it_can_be(tmp_path, fps, shown_fps, ms):
    report = record(untrained(DRAWN), output=tmp_path / "a.GIF", fps=fps, max_steps=2)
    assert report["fps"] == shown_fps
    assert pictures(tmp_path / "a.GIF")[1] == [ms] * 3


def test_a_gif_of_few_colours_is_exact_and_grows_with_every_picture(tmp_path):
    """No picture is kept for later, and none is left out because it equals the last."""
    path, random = tmp_path / "a.gif", np.random.default_rng(1)
    added = [(random.integers(0, 16, (64, 80, 1)) * [16, 8, 4]).astype(np.uint8) for _ in range(40)]
    animation = animation_format(".gif")(path, 10)
    sizes = []
    for picture in added:
        animation.add(picture)
        animation.add(picture)
        sizes.append(path.stat().st_size)
    animation.close()
    assert sizes[20] > sizes[-1] / 3 > 0
    np.testing.assert_array_equal(pictures(path)[0], np.repeat(added, 2, 0))


@pytest.mark.parametrize("folder", ["", "with: a colon, ρ"])
def test_mp4(tmp_path, folder):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg (68 MB) is not installed (extra record)")
    path = tmp_path / folder / "a.mp4"
    path.parent.mkdir(exist_ok=True)
    report = record(untrained(DRAWN), output=path, fps=125)
    assert (report["frames"], report["fps"]) == (21, 125)
    assert ffmpeg.count_frames_and_secs(path) == (21, pytest.approx(21 / 125, abs=0.02))
    frames = ffmpeg.read_frames(path)
    about = next(frames)
    assert (about["size"], about["fps"]) == ((8, 6), 125)  # sides are even
    brightness = [np.frombuffer(frame, np.uint8).mean() for frame in frames]
    np.testing.assert_allclose(brightness, 10 * np.arange(21), atol=6)


def test_an_mp4_that_is_not_whole_is_an_error(tmp_path, monkeypatch):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg (68 MB) is not installed (extra record)")
    monkeypatch.setattr(ffmpeg, "count_frames_and_secs", lambda path: (20, 1.0))
    with pytest.raises(RunFolderError, match=r"a\.mp4: cannot be written \(ffmpeg wrote 20 of 21 pictures\)"):
        record(untrained(DRAWN), output=tmp_path / "a.mp4")
    assert os.listdir(tmp_path) == []


def test_the_command(pygame, call, run):
    code, out, err = call("record", run, "-o", "a.gif", "--max-steps", 3, "--fps", 10)
    assert (code, out) == (0, "a.gif\n")
    assert err == "cartpole: return 3.0 in 3 steps, as evaluation episode 0; 4 pictures, 10 a second\n"
    before = Path("a.gif").read_bytes()
    code, out, _ = call("record", run, "-o", "a.gif", "--max-steps", 4, "--episode", 1, "--json")
    assert out.count("\n") == 1
    report = json.loads(out)
    assert (report["episode"], report["frames"], report["output"]) == (1, 5, "a.gif")
    assert Path("a.gif").read_bytes() != before
    assert sorted(os.listdir()) == ["a.gif", "run"]


# --- how it says no ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("missing", "missing: no such folder"),
        ("run -o a.avi", "a.avi: recordings are written as .gif or .mp4; choose another name (-o)"),
        ("run -o run", "run: recordings are written as .gif or .mp4"),
        ("run -o missing/a.gif", "missing/a.gif: cannot be written (No such file or directory); choose another name (-o)"),
        ("run -o folder.gif", "folder.gif: cannot be written (Is a directory); choose another name (-o)"),
        ("run --episode -1", "episode: -1 must be between 0 and 1048575"),
        ("run --seed -1", "seed: -1 must be between 0 and"),
        ("run --fps 0", "fps: 0 must be between 0.1 and 1000"),
        ("run --fps nan", "fps: nan must be between 0.1 and 1000"),
        ("run --max-steps 0", "environment.max_steps: 0 — input should be greater than or equal to 1"),
    ],
)
def test_bad_input_is_one_message(call, files, run, arguments, expected):
    Path("folder.gif").mkdir()
    before = files(Path())
    code, out, err = call("record", *arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err
    assert files(Path()) == before


def test_what_does_not_draw_is_said(tmp_path):
    classifier = Run(Path("x"), Experiment(task="digits"), State(0, {}, {}, Normaliser.start(64)), [])
    with pytest.raises(ExperimentError, match="digits has images, not episodes"):
        record(classifier, output=tmp_path / "a.gif")
    with pytest.raises(ExperimentError, match=r"draws no pictures: its render_modes are \[\]; give it rgb_array"):
        record(untrained("gym:faulty_environments:Target-v0"), output=tmp_path / "a.gif")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            "raise",
            r"step raised RuntimeError: the motor burnt out \(.*drawn_environment.py, line \d+\) \(episode 7\); mend",
        ),
        ("no render", "render raised RuntimeError: out of paint"),
        ("nothing", "render gave NoneType, not a picture"),
        ("grow", r"render gave uint8 \(9, 9, 3\), not a picture \(uint8 \(5, 7, 3\) as before\)"),
    ],
)
def test_an_environment_that_fails_leaves_the_old_file_alone(tmp_path, fault, said):
    """Also where training would rank such a sample worst."""
    (tmp_path / "a.gif").write_bytes(b"old")
    with pytest.raises(EngineError, match=said):
        record(untrained(DRAWN, kwargs={"fault": fault}, on_error="worst_rank"), output=tmp_path / "a.gif", episode=7)
    assert os.listdir(tmp_path) == ["a.gif"]
    assert (tmp_path / "a.gif").read_bytes() == b"old"


def test_what_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ExperimentError, match=r"pip install 'rsrp-lava\[record\]', or write a \.gif"):
        record(untrained(DRAWN), output=tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ExperimentError, match=r"pip install 'rsrp-lava\[record\]'"):
        record(untrained("cartpole"), output=tmp_path / "a.gif")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere MuJoCo knows how to draw")
def test_every_way_to_draw_is_tried_and_a_given_one_respected(monkeypatch):
    tried = []
    monkeypatch.setattr(recording, "_problem", lambda way: tried.append(way) or "no such library")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with pytest.raises(ExperimentError, match=r"\(MUJOCO_GL=egl: no such library; MUJOCO_GL=osmesa: .*\); install"):
        recording._way_to_draw("gym:Hopper-v5")
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(ExperimentError, match="unset MUJOCO_GL, or install"):
        recording._way_to_draw("gym:Hopper-v5")
    assert tried == ["egl", "osmesa", "glfw"]
    monkeypatch.setattr(recording, "_problem", lambda way: None)
    assert recording._way_to_draw("gym:Hopper-v5") == {"MUJOCO_GL": "glfw"}
    monkeypatch.delenv("MUJOCO_GL")
    assert recording._way_to_draw("gym:Hopper-v5") == {"MUJOCO_GL": "egl"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere MuJoCo knows how to draw")
def test_what_is_wrong_with_a_way_to_draw_is_found_out_in_another_process():
    pytest.importorskip("mujoco", reason="MuJoCo is not installed (extra mujoco)")
    assert "RuntimeError: invalid value" in recording._problem("paint")
