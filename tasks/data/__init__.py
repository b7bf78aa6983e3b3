"""Labelled images to classify: `digits` (in the package), `mnist`, `fashion_mnist` and `cifar10` (files), or one's own.

Where the files go, in which layout, and what is checked: docs/data.md.
"""

from rsrp_lava.tasks.data.base import DataSet, Labelled
from rsrp_lava.tasks.data.options import DatasetOptions
from rsrp_lava.tasks.data.own import description, is_own, pinned, short_name, whole_name
from rsrp_lava.tasks.data.progress import show_reading
from rsrp_lava.tasks.data.registry import data_names, load_data, refuse_unused

__all__ = [
    "DataSet",
    "DatasetOptions",
    "Labelled",
    "data_names",
    "description",
    "is_own",
    "load_data",
    "pinned",
    "refuse_unused",
    "short_name",
    "show_reading",
    "whole_name",
]
