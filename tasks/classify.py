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
from rsrp_lava.tasks.data import DatasetOptions, pinned

TASKS = (
    ClassifyTask("digits", "classify 8 × 8 digits (1,442 images, in the package)", (8, 8, 1), 10, 355),
    ClassifyTask("mnist", "classify MNIST's digits (60,000 images of 28 × 28)", (28, 28, 1), 10, 10_000),
    ClassifyTask("fashion_mnist", "classify Fashion-MNIST's clothes (60,000 images of 28 × 28)", (28, 28, 1), 10, 10_000),
    ClassifyTask("cifar10", "classify CIFAR-10's pictures (50,000 images of 32 × 32 × 3)", (32, 32, 3), 10, 10_000),
)


def own_task(name: str, options: DatasetOptions) -> ClassifyTask:
    """The task of one's own data (`images:DIR`, `data:FILE.npz`), which are read unless the options say what they hold."""
    whole = pinned(name, options)
    content = whole.content
    assert content is not None
    summary = f"classify {content.n_train:,} of your own"
    return ClassifyTask(name, summary, content.shape, len(content.classes), content.n_test, dataset=whole)
