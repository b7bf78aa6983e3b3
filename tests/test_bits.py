"""Promise 1 from commit to commit: small experiments of all rules, kinds of tasks, engines and profiles keep their bits.

tests/bits.json holds what each one ended in when it was added. A change here is a change of what users' runs are; if it is
meant, say so in the commit, and write the file anew: `python tests/test_bits.py`.
"""

import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from rsrp_lava import Experiment, train

TABLE = Path(__file__).with_name("bits.json")
SMALL = {"population": 16, "generations": 3, "evaluation_episodes": 4, "seed": 5, "network": {"n_neurons": 64}}
WEIGHTS = {"task": "cartpole", "generations": 2, "evaluation_episodes": 2, "seed": 5, "population": 8}


def _cells():
    """Settings by name."""
    cells = {}
    for task in (
        "cartpole",
        "acrobot",
        "cue",
        "gridworld",
        "mountain_car",
        "mountain_car_continuous",
        "pendulum",
        "reaching",
    ):
        cells[f"rsrp {task}"] = {**SMALL, "task": task}
    for profile in ("generic-int8", "loihi1", "loihi2", "odin", "spinnaker2", "truenorth", "xylo"):
        cells[f"rsrp cartpole {profile}"] = {**SMALL, "task": "cartpole", "profile": profile}
    for transform in ("centered_rank", "normalized_rank", "zero_mean"):
        cells[f"rsrp cartpole {transform}"] = {**SMALL, "task": "cartpole", "reward_transform": transform}
    cells["rsrp cartpole adam"] = {**SMALL, "task": "cartpole", "optimizer": "adam"}
    cells["rsrp cartpole momentum, decay"] = {**SMALL, "task": "cartpole", "optimizer": "momentum", "decay": 0.01}
    cells["rsrp cartpole reservoir"] = {**SMALL, "task": "cartpole", "reservoir": True}
    cells["rsrp cartpole few bits"] = {**SMALL, "task": "cartpole", "p_bits": 6, "epsilon": 0.02}
    cells["rsrp cartpole shared starts"] = {**SMALL, "task": "cartpole", "environment": {"starts": "shared"}}
    cells["rsrp cartpole two episodes"] = {**SMALL, "task": "cartpole", "environment": {"episodes_per_sample": 2}}
    cells["rsrp gym:CartPole-v1"] = {**SMALL, "task": "gym:CartPole-v1", "environment": {"max_steps": 50}}
    cells["rsrp gym:FrozenLake-v1"] = {**SMALL, "task": "gym:FrozenLake-v1"}
    cells["rsrp gym:Pendulum-v1"] = {**SMALL, "task": "gym:Pendulum-v1", "environment": {"max_steps": 50}}
    cells["rsrp cartpole lava"] = {**SMALL, "task": "cartpole", "engine": "lava", "generations": 2}
    cells["hedonistic cartpole"] = {**SMALL, "task": "cartpole", "rule": "hedonistic"}
    cells["satr cartpole"] = {**SMALL, "task": "cartpole", "rule": "satr"}
    cells["digits"] = {"task": "digits", "population": 16, "generations": 3, "seed": 5}
    cells["digits, layers"] = {**cells["digits"], "layers": {"hidden": [32]}}
    for rule in ("es", "hedonistic_spikes", "r_stdp", "nrl", "rmhl", "reinforce", "neuron_agents"):
        cells[f"{rule} cartpole"] = {**WEIGHTS, "rule": rule}
    cells["reparameterized gridworld"] = {**WEIGHTS, "task": "gridworld", "rule": "reparameterized"}
    cells["svpg cartpole"] = {**WEIGHTS, "rule": "svpg"}
    cells["svpg digits"] = {
        "task": "digits",
        "rule": "svpg",
        "population": 32,
        "generations": 2,
        "evaluation_episodes": 8,
        "seed": 5,
    }
    return cells


CELLS = _cells()


def digest(settings):
    summary = train(Experiment(**settings), threads=1).summary
    return summary.get("release_sha256") or summary["weights_sha256"]


@pytest.mark.parametrize("name", CELLS)
def test_the_bits_are_those_there_were(name):
    if CELLS[name].get("engine") == "lava" and importlib.util.find_spec("lava") is None:
        pytest.skip("Lava runs on Python 3.10 only")
    assert digest(CELLS[name]) == json.loads(TABLE.read_text())[name]


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="plays another x86-64 processor")
def test_an_older_processor_gives_the_same_bits(tmp_path):
    """Machine code for AVX2, and NumPy's loops for it: three minutes, as everything is compiled anew."""
    older = {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,+popcnt,+lzcnt,+avx,+sse4.2",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", __file__, "-k", "bits_are", "-p", "no:cacheprovider"]
    done = subprocess.run(command, env={**os.environ, **older}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def _write():
    table = {}
    for name, settings in CELLS.items():
        table[name] = digest(settings)
        print(name, table[name][:12])
    TABLE.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(_write())
