"""Draws lava_graph.png: `python docs/draw_lava_graph.py`."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

WORLD, SYNAPSES, NEURONS, HOST = "#CFE3F1", "#F6DDC8", "#CDEBDD", "#E6DDF0"
STEP, LEARNING = {"color": "#444"}, {"color": "#7B4FA3", "linestyle": "--"}
WIDTH, HEIGHT = 1.2, 0.62
BOXES = {  # name: (x, y, colour)
    "reward\nbroadcaster": (0.0, 3.0, HOST),
    "environment": (0.0, 1.5, WORLD),
    "input\nencoder": (2.2, 1.5, WORLD),
    "input\nsynapses": (4.4, 1.5, SYNAPSES),
    "LIF\npopulation": (6.6, 1.5, NEURONS),
    "recurrent\nsynapses": (8.8, 1.5, SYNAPSES),
    "readout": (4.4, 0.0, NEURONS),
    "readout\nsynapses": (6.6, 0.0, SYNAPSES),
}
BUS = 2.45  # height of the broadcaster's line, which goes round to reach everyone
LINES = [  # points (the arrow's head is at the last), label, centre of the label, style
    ([(0.6, 1.5), (1.6, 1.5)], "observation", (1.1, 1.62), STEP),
    ([(2.8, 1.5), (3.8, 1.5)], "x", (3.3, 1.62), STEP),
    ([(5.0, 1.5), (6.0, 1.5)], "current", (5.5, 1.62), STEP),
    ([(7.2, 1.65), (8.2, 1.65)], "spikes", (7.7, 1.77), STEP),
    ([(8.2, 1.35), (7.2, 1.35)], "counts,\n1 step late", (7.7, 1.14), STEP),
    ([(6.6, 1.19), (6.6, 0.31)], "spikes", (6.9, 0.75), STEP),
    ([(6.0, 0.0), (5.0, 0.0)], "counts", (5.5, 0.12), STEP),
    ([(3.8, 0.0), (0.0, 0.0), (0.0, 1.19)], "output", (1.9, 0.12), STEP),
    ([(-0.2, 1.81), (-0.2, 2.69)], "returns", (-0.55, 2.25), LEARNING),
    ([(0.2, 2.69), (0.2, 1.81)], "", (0, 0), LEARNING),
    *(([(x, BUS), (x, 1.81)], "", (0, 0), LEARNING) for x in (2.2, 4.4, 6.6, 8.8)),
    ([(6.6, -0.7), (6.6, -0.31)], "", (0, 0), LEARNING),
    (
        [(0.2, BUS), (9.8, BUS), (9.8, -0.7), (4.4, -0.7), (4.4, -0.31)],
        "one scalar a sample (its rank), to everyone",
        (3.4, BUS + 0.13),
        LEARNING,
    ),
]


def main():
    """Draw every box, and every line with its arrow and label."""
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    axes = figure.subplots()
    for name, (x, y, colour) in BOXES.items():
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle="round,pad=0", facecolor=colour, edgecolor="#444"))
        axes.text(x, y, name, ha="center", va="center", fontsize=9)
    for points, label, centre, style in LINES:
        axes.plot(*zip(*points, strict=True), linewidth=1.2, **style)
        arrow = {"arrowstyle": "-|>", "color": style["color"], "shrinkA": 0, "shrinkB": 0}
        (x0, y0), (x1, y1) = points[-2:]
        length = abs(x1 - x0) + abs(y1 - y0)  # one of the two is 0
        tail = (x1 - 0.15 * (x1 - x0) / length, y1 - 0.15 * (y1 - y0) / length)
        axes.annotate("", points[-1], tail, arrowprops=arrow)
        axes.text(*centre, label, color=style["color"], ha="center", va="center", fontsize=7.5)
    axes.text(
        9.8, 3.0, "solid: every time step or environment step\ndashed: learning phase", fontsize=7.5, ha="right", va="center"
    )
    axes.set_xlim(-1, 10)
    axes.set_ylim(-0.9, 3.4)
    axes.set_axis_off()
    figure.savefig(Path(__file__).with_name("lava_graph.png"), dpi=130)


if __name__ == "__main__":
    main()
