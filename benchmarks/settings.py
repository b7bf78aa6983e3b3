"""`python -m benchmarks.settings -o DIR`: what step and population are worth, at equal environment steps.

Trains every task with every setting and seed, and evaluates after so many environment steps; the linear policy of
benchmarks/linear_search.py, random actions and doing nothing stand beside. DIR keeps the runs, so the command goes on where
it was stopped; results.csv has a row per task, setting, seed and number of steps, results.md the table of docs/learning.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.linear_search import LinearSearch
from rsrp_lava import Experiment, train
from rsrp_lava.tasks.environment import EnvironmentOptions
from rsrp_lava.tasks.gym import Environment

#: Tasks that settings are judged on.
TASKS = (
    "CartPole-v1",
    "Acrobot-v1",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5",
    "Reacher-v5",
    "Pusher-v5",
    "Swimmer-v5",
    "Hopper-v5",
    "Walker2d-v5",
    "HalfCheetah-v5",
    "Humanoid-v5",
    "LunarLander-v3",
    "BipedalWalker-v3",
    "FrozenLake-v1",
)
_PLAIN = {
    "network": {"one_hot_inputs": "unscaled"},
    "environment": {"starts": "independent", "episodes_per_sample": 1},
    "halve_learning_rate_every": None,
    "decay": 0.0,
    "epsilon": 1e-3,
}
#: What a run changes; `recipe` is whatever `train gym:ID` does, `before` what it did before there was this table.
SETTINGS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "before": {**_PLAIN, "population": 256, "learning_rate": 8.0, "reward_transform": "centered_rank"},
    "plain": {**_PLAIN, "population": 32, "learning_rate": "auto", "reward_transform": "normalized_rank"},
}
LINEAR, RANDOM, NOTHING = "linear", "random", "nothing"
_EPISODES = 128


def main() -> None:
    """Train what is missing, and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.settings", description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tasks", default=",".join(TASKS), help="Gymnasium's ids, with commas")
    parser.add_argument("--settings", default=f"recipe,before,{LINEAR},{RANDOM},{NOTHING}", help="with commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", default="1e5,1e6", help="numbers of environment steps, rising, with commas")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    steps = [int(float(part)) for part in arguments.steps.split(",")]
    cells = [
        (arguments.output, task, setting, seed, steps)
        for seed in range(arguments.seeds)
        for task in arguments.tasks.split(",")
        for setting in arguments.settings.split(",")
    ]
    known = _read(arguments.output / "results.csv")
    done = {(row["task"], row["setting"], row["seed"], row["steps"]) for row in known}
    missing = [cell for cell in cells if any((cell[1], cell[2], str(cell[3]), str(n)) not in done for n in steps)]
    with ProcessPoolExecutor(arguments.processes) as pool:
        for finished in as_completed([pool.submit(_rows, *cell) for cell in missing]):
            rows = finished.result()
            known = [row for row in known if not any(_same(row, new) for new in rows)] + rows
            _write(arguments.output, known)
            for row in rows:
                print(f"{row['task']} {row['setting']} seed {row['seed']} {row['steps']}: {row['return']}", flush=True)


def _same(row: dict[str, str], other: dict[str, str]) -> bool:
    return all(row[name] == other[name] for name in ("task", "setting", "seed", "steps"))


def _rows(output: Path, task: str, setting: str, seed: int, steps: list[int]) -> list[dict[str, str]]:
    """What one training came to after each number of steps."""
    if setting in (RANDOM, NOTHING):
        evaluated = [(n, _without_learning(task, setting == RANDOM, seed)) for n in steps]
    elif setting == LINEAR:
        evaluated = _linear(task, seed, steps)
    else:
        evaluated = _trained(output / f"{task}-{setting}-{seed}", task, setting, seed, steps)
    rows = ({"task": task, "setting": setting, "seed": seed, "steps": n, "return": f"{mean:.4g}"} for n, mean in evaluated)
    return [{name: str(value) for name, value in row.items()} for row in rows]


def _experiment(task: str, setting: str, seed: int) -> Experiment:
    changes = SETTINGS[setting]
    return Experiment(task=f"gym:{task}", seed=seed, evaluation_episodes=_EPISODES, evaluate_every=10**9, **changes)


def _trained(path: Path, task: str, setting: str, seed: int, steps: list[int]) -> list[tuple[int, float]]:
    """Evaluations after each number of steps; those of earlier calls are kept beside the run, which has gone on since."""
    kept = path.with_name(path.name + ".json")
    evaluated: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    if path.exists() and (not evaluated or not (path / "checkpoint.npz").exists()):
        shutil.rmtree(path)
        evaluated = {}
    for n in steps:
        if str(n) not in evaluated:
            experiment = _experiment(task, setting, seed).replace(generations=10**9, max_env_steps=n)
            where = {"resume": path} if path.exists() else {"out": path}
            evaluated[str(n)] = train(experiment, threads=1, **where).summary["final_eval_return"]
            kept.write_text(json.dumps(evaluated))
    return [(n, evaluated[str(n)]) for n in steps]


def _linear(task: str, seed: int, steps: list[int]) -> list[tuple[int, float]]:
    search, evaluated = LinearSearch(task, _max_steps(task), seed), []
    for n in steps:
        search.train(n)
        evaluated.append((n, float(search.evaluate(_EPISODES).mean())))
    search.close()
    return evaluated


def _max_steps(task: str) -> int:
    return Experiment(task=f"gym:{task}").build_task().max_steps  # type: ignore[union-attr]


def _without_learning(task: str, at_random: bool, seed: int) -> float:
    """Mean return of actions that are drawn from the action space, or of outputs that are all 0."""
    limit = _max_steps(task)
    environment = Environment(task, EnvironmentOptions(max_steps=limit))
    space, returns = environment._env.action_space, []
    space.seed(seed)
    for episode in range(_EPISODES):
        environment.reset(1000 * seed + episode)
        total, ended, played = 0.0, False, 0
        while not ended and played < limit:
            if at_random:
                _, reward, terminated, truncated, _ = environment._env.step(space.sample())
                ended = terminated or truncated
            else:
                _, reward, ended = environment.step(np.zeros(environment.n_outputs, np.float32))
            total, played = total + float(reward), played + 1
        returns.append(total)
    environment.close()
    return float(np.mean(returns))


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write(output: Path, rows: list[dict[str, str]]) -> None:
    """results.csv and results.md."""
    output.mkdir(parents=True, exist_ok=True)
    place = {task: index for index, task in enumerate(TASKS)}
    rows.sort(key=lambda row: (place.get(row["task"], 99), row["task"], row["setting"], int(row["steps"]), row["seed"]))
    with (output / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (output / "results.md").write_text(_table(rows))


def _table(rows: list[dict[str, str]]) -> str:
    """A line per task; of every setting and number of steps the mean over seeds, and the least and the largest."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    columns = list(dict.fromkeys((row["setting"], row["steps"]) for row in rows))
    columns = [column for column in columns if column[0] not in (RANDOM, NOTHING) or column[1] == columns[0][1]]
    heads = [s if s in (RANDOM, NOTHING) else f"{s}, {float(n):.0e} steps".replace("e+0", "e") for s, n in columns]
    lines = ["| task | " + " | ".join(heads) + " |", "|---" * (len(columns) + 1) + "|"]
    for task in tasks:
        cells = []
        for column in columns:
            of = [float(r["return"]) for r in rows if (r["task"], r["setting"], r["steps"]) == (task, *column)]
            cells.append(f"{statistics.mean(of):.4g} ({min(of):.4g} to {max(of):.4g})" if of else "")
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
