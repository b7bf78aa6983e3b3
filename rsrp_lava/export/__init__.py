"""Carrying a trained network to other programs and to chips: NIR, stock Lava processes, plain arrays."""

from rsrp_lava.export.deployment import RELEASE_MODES, Deployment, build_deployment
from rsrp_lava.export.play import Played, play

__all__ = ["RELEASE_MODES", "Deployment", "Played", "build_deployment", "play"]
