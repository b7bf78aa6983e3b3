"""Classifying images from reward: the network is shown a batch and told one number, how good its scores were.

| | |
|---|---|
| input | pixels, 0 … 255, normalised as (pixel / 255 − mean) / std |
| output | a score a class; the largest is the answer |
| reward | of a batch: soft recall, accuracy, recall or cross entropy (kernels/rewards.py) |
| evaluation | accuracy on the test images |
"""

from __future__ import annotations

from rsrp_lava.tasks.base import ClassifyTask

TASKS = (
    ClassifyTask("digits", "classify 8 × 8 digits (1,442 images, in the package)", (8, 8, 1), 10, 355),
    ClassifyTask("mnist", "classify MNIST's digits (60,000 images of 28 × 28)", (28, 28, 1), 10, 10_000),
    ClassifyTask("fashion_mnist", "classify Fashion-MNIST's clothes (60,000 images of 28 × 28)", (28, 28, 1), 10, 10_000),
    ClassifyTask("cifar10", "classify CIFAR-10's pictures (50,000 images of 32 × 32 × 3)", (32, 32, 3), 10, 10_000),
)
