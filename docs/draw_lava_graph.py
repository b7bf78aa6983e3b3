"""Draws lava_graph.png: `python docs/draw_lava_graph.py`."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

BOXES = {  # name: (x, y, colour)
    "environment": (0.0, 1.0, "#CFE3F1"),
    "input\nencoder": (1.6, 1.0, "#CFE3F1"),
    "input\nsynapses": (3.2, 1.0, "#F6DDC8"),
    "LIF\npopulation": (4.8, 1.0, "#CDEBDD"),
    "recurrent\nsynapses": (6.6, 1.0, "#F6DDC8"),
    "readout\nsynapses": (4.8, -0.6, "#F6DDC8"),
    "readout": (2.4, -0.6, "#CDEBDD"),
    "reward\nbroadcaster": (3.2, 2.7, "#E6DDF0"),
}
ARROWS = [  # from, to, label, curve
    ("environment", "input\nencoder", "observation", 0),
    ("input\nencoder", "input\nsynapses", "x", 0),
    ("input\nsynapses", "LIF\npopulation", "current", 0),
    ("LIF\npopulation", "recurrent\nsynapses", "spikes", -0.25),
    ("recurrent\nsynapses", "LIF\npopulation", "counts (1 step late)", -0.25),
    ("LIF\npopulation", "readout\nsynapses", "spikes", 0),
    ("readout\nsynapses", "readout", "counts", 0),
    ("readout", "environment", "output", 0),
]
WIDTH, HEIGHT = 1.1, 0.62


def main():
    """Draw every box, every arrow, and the broadcast."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    for name, (x, y, colour) in BOXES.items():
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle="round,pad=0.04", facecolor=colour, edgecolor="#444"))
        axes.text(x, y, name, ha="center", va="center", fontsize=9)
    for start, end, label, curve in ARROWS:
        (x0, y0, _), (x1, y1, _) = BOXES[start], BOXES[end]
        style = f"arc3,rad={curve}"
        axes.add_patch(
            FancyArrowPatch(
                (x0, y0),
                (x1, y1),
                arrowstyle="-|>",
                mutation_scale=12,
                shrinkA=32,
                shrinkB=32,
                connectionstyle=style,
                color="#444",
            )
        )
        side = 0.42 if curve and x1 > x0 else -0.42 if curve else 0.12
        axes.text(
            (x0 + x1) / 2 + (0.38 if x0 == x1 else 0), (y0 + y1) / 2 + side, label, ha="center", va="center", fontsize=7
        )
    for name in ("input\nsynapses", "recurrent\nsynapses", "readout\nsynapses"):
        x, y, _ = BOXES[name]
        bend = 0.0 if x == 3.2 else -0.35 if y > 0 else 0.05
        axes.add_patch(
            FancyArrowPatch(
                BOXES["reward\nbroadcaster"][:2],
                (x, y),
                arrowstyle="-|>",
                mutation_scale=12,
                shrinkA=26,
                shrinkB=30,
                connectionstyle=f"arc3,rad={bend}",
                color="#7B4FA3",
                linestyle="--",
            )
        )
    axes.add_patch(
        FancyArrowPatch(
            BOXES["environment"][:2],
            BOXES["reward\nbroadcaster"][:2],
            arrowstyle="-|>",
            mutation_scale=12,
            shrinkA=30,
            shrinkB=36,
            connectionstyle="arc3,rad=-0.25",
            color="#7B4FA3",
            linestyle="--",
        )
    )
    axes.text(1.0, 2.45, "returns", color="#7B4FA3", fontsize=8)
    axes.text(5.3, 2.75, "one scalar a sample (ranks), to everyone", color="#7B4FA3", fontsize=8, ha="center")
    axes.text(7.35, -0.75, "solid: every time step or environment step\ndashed: learning phase", fontsize=7, ha="right")
    axes.set_xlim(-0.8, 7.4)
    axes.set_ylim(-1.1, 3.2)
    axes.set_axis_off()
    figure.savefig(Path(__file__).with_name("lava_graph.png"), dpi=130)


if __name__ == "__main__":
    main()
