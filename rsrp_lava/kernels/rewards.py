"""Rewards of a classifier: one number from its scores of a batch (Sun et al. 2025 §2.5; released code, ec_mnist.py).

Scores are float32, shape (classes, batch). Classes are averaged over those that occur in the batch, images in their order,
so a reward is the same bits on every thread and machine (cross entropy as far as the C library's exp and log are).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

#: Rewards by name; the number is what kernels are told.
REWARDS = {"soft_recall": 0, "accuracy": 1, "recall": 2, "cross_entropy": 3}


@njit(nogil=True)
def rank_of(scores, image, label):
    """How many classes score at least as high as the true one, itself included: 1 is a hit without a tie.

    A NaN score of the true class ranks last; NaN scores of others do not count against it.
    """
    true = scores[label, image]
    if math.isnan(true):
        return scores.shape[0]
    rank = 0
    for c in range(scores.shape[0]):
        rank += scores[c, image] >= true
    return rank


@njit(nogil=True)
def is_hit(scores, image, label):
    """Whether the true class is the answer: the first of the largest scores. A NaN score is never the answer."""
    true = scores[label, image]
    if math.isnan(true):
        return False
    for c in range(scores.shape[0]):
        if scores[c, image] > true or (c < label and scores[c, image] == true):
            return False
    return True


@njit(nogil=True)
def log_probability(scores, image, label):
    """log softmax of the true class, in float64."""
    largest = -math.inf
    for c in range(scores.shape[0]):
        largest = max(largest, np.float64(scores[c, image]))
    total = 0.0
    for c in range(scores.shape[0]):
        total += math.exp(np.float64(scores[c, image]) - largest)
    return np.float64(scores[label, image]) - largest - math.log(total)


@njit(nogil=True)
def reward(kind, scores, labels):
    """The reward of one network for a batch.

        soft_recall:    mean over classes of mean over their images of 5 / (5 + rank)      at most 5/6
        recall:         the same of [the true class is the answer]
        accuracy:       mean over images of [the true class is the answer]
        cross_entropy:  mean over images of log softmax of the true class

    Parameters
    ----------
    kind : a value of REWARDS
    scores : float32, shape (classes, batch);  labels : uint8, shape (batch,)
    """
    classes, batch = scores.shape
    gained, seen = np.zeros(classes), np.zeros(classes)
    for image in range(batch):
        label = np.int64(labels[image])
        if kind == 3:
            gain = log_probability(scores, image, label)
        elif kind == 0:
            gain = 5.0 / (5.0 + rank_of(scores, image, label))
        else:
            gain = np.float64(is_hit(scores, image, label))
        gained[label] += gain
        seen[label] += 1.0
    if kind == 1 or kind == 3:
        return gained.sum() / batch
    total, present = 0.0, 0
    for c in range(classes):
        if seen[c] > 0:
            total += gained[c] / seen[c]
            present += 1
    return total / present
