"""Labelled images to classify: `digits` (in the package), `mnist`, `fashion_mnist` and `cifar10` (official files).

Where the files go, in which layout, and what is checked: docs/data.md.
"""

from rsrp_lava.tasks.data.base import DataSet, Labelled
from rsrp_lava.tasks.data.registry import data_names, load_data

__all__ = ["DataSet", "Labelled", "data_names", "load_data"]
