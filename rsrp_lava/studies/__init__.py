"""Studies: many trainings that differ in a few settings, measured, tabled and drawn by one command."""

from rsrp_lava.studies.classifying import AXES, ClassifyingOptions
from rsrp_lava.studies.comparison import ComparisonOptions
from rsrp_lava.studies.quantization import QuantizationOptions
from rsrp_lava.studies.robustness import RobustnessOptions
from rsrp_lava.studies.study import STUDIES, StudyResult, study

__all__ = [
    "AXES",
    "STUDIES",
    "ClassifyingOptions",
    "ComparisonOptions",
    "QuantizationOptions",
    "RobustnessOptions",
    "StudyResult",
    "study",
]
