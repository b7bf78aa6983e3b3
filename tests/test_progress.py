"""Progress says the most important things first, and fits the terminal."""

import io

import pytest
from rich.console import Console

from rsrp_lava.reporting import progress as progress_module
from rsrp_lava.reporting.progress import RunLine, TerminalProgress

RECORD = {
    "sampled_return": 123.4,
    "evaluation_return": 456.7,
    "evaluation_std": 8.9,
    "entropy_bits": {"input": 0.98, "recurrent": 0.87, "readout": 0.91},
}


@pytest.fixture
def shown(monkeypatch):
    """The text on a terminal, or elsewhere, of a given width after some generations of 70."""

    def show(width, generations=12, terminal=True, **options):
        clock = iter(range(1000))
        monkeypatch.setattr(progress_module.time, "perf_counter", lambda: next(clock) * 1.0)
        text = io.StringIO()
        console = Console(file=text, width=width, force_terminal=terminal, color_system=None)
        progress = TerminalProgress("cartpole", RunLine(70, False, **options), console)
        for generation in range(generations):
            progress({**RECORD, "generation": generation, "env_steps": 1_234_567 * generation})
        progress.close()
        return text.getvalue()

    return show


def last_line(text):
    return [line for line in text.replace("\r", "\n").split("\n") if "generation 12/70" in line or "gen 12/70" in line][-1]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 120, 140, 200])
def test_generation_and_time_left_are_there_at_every_width(shown, width):
    line = last_line(shown(width))
    assert "0:58 left" in line
    assert "…" not in line
    assert len(line.split("\x1b")[0].rstrip()) < width


def test_what_matters_less_goes_first(shown):
    parts = ("evaluation 456.7 ± 8.9", "sampled 123.4", "1,234,567 env steps/s", "trend +0.0 σ", "━")
    words = ("456.7", "sampled", "steps/s", "trend", "━")
    counts = [sum(word in last_line(shown(width)) for word in words) for width in range(30, 170)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, len(parts))
    at_120, at_80 = last_line(shown(120)), last_line(shown(80))
    assert [part in at_120 for part in parts] == [True, True, True, True, False]
    short = ("eval 456.7", "sampled 123.4", "1,234k steps/s", "trend +0.0 σ", "0:58 left", "gen 12/70")
    assert all(part in at_80 for part in short)


def test_an_evaluation_that_is_not_of_this_generation_says_so():
    line = RunLine(9, False)
    line.note({**RECORD, "generation": 0, "env_steps": 300}, 10.0)
    assert line.parts()["evaluation"] == "evaluation 456.7 ± 8.9 (nothing releases)"
    for generation in (1, 2):
        line.note({"sampled_return": 3.0, "generation": generation, "env_steps": 700}, 12.0)
    assert line.parts()["evaluation"].endswith("(nothing releases) (of generation 0)")


def test_the_last_line_shows_the_evaluation_after_the_last_update(capsys):
    from rsrp_lava import Experiment, train

    result = train(Experiment(population=4, generations=2, evaluation_episodes=4), threads=1, progress=True)
    from rsrp_lava.reporting.numbers import shown_return

    last = [line for line in capsys.readouterr().err.splitlines() if line.startswith("generation 2/2")][-1]
    final = result.metrics[-1]
    assert f"evaluation {shown_return(final['evaluation_return'], final['evaluation_std'])}" in last


def test_elsewhere_than_on_a_terminal_lines_are_whole_and_the_last_is_printed(shown):
    """Lines come every two seconds; training that ends early (--until) ends with its last generation."""
    for generations in (10, 11, 12):
        lines = shown(40, generations, terminal=False).splitlines()
        assert sum(line.startswith(f"generation {generations}/70  ") for line in lines) == 1
        assert all("sampled 123.4" in line for line in lines[1:])
        assert "trend +0.0 σ" in lines[-1]


def test_time_left_is_that_of_the_time_limit_if_it_comes_first(shown):
    for limit, left in ((45.0, "0:45"), (59.0, "0:58"), (-3.0, "0:00")):
        assert f"{left} left" in last_line(shown(80, time_left=lambda limit=limit: limit))
    assert "generation 1/70  " in shown(80, 1)
    assert " left" not in shown(80, 1)  # not known after one generation
    assert "0:45 left" in shown(80, 1, time_left=lambda: 45.0)


def test_a_line_of_a_run_begins_without_generations_and_takes_in_the_last_evaluation():
    line = RunLine(2, True)
    assert line.parts() == {"generation": "generation 0/2", "bar": "·" * 20}
    line.note({**RECORD, "generation": 0, "env_steps": 300}, 10.0)
    line.note({**RECORD, "generation": 1, "env_steps": 700}, 12.0)
    assert line.parts()["speed"] == "200 images/s"
    final = {"generation": 2, "evaluation_return": 0.5, "evaluation_std": 0.1, "entropy_bits": {}, "env_steps": 700}
    line.note(final, 12.0)
    assert line.parts() == {
        "generation": "generation 2/2",
        "bar": "━" * 20,
        "sampled": "sampled 123.4",
        "evaluation": "evaluation 0.500",
        "speed": "200 images/s",
        "left": "0:00 left",
    }
