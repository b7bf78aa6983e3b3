"""The same layered networks with real weights, trained by backpropagation: Adam on the cross entropy of the labels.

Batches are those that an experiment of shared batches shows its networks, in the same order, so that a step here stands
beside a generation there. The networks have no biases, as the binary ones; constants as in the released code of Sun et al.
2025 (bp_mnist_cnn.py: Adam 5e-4, weight decay 1e-3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rsrp_lava.engines.batches import BatchOrder
from rsrp_lava.errors import EngineError
from rsrp_lava.experiment import Experiment
from rsrp_lava.network import LayeredNetwork
from rsrp_lava.tasks import ClassifyTask
from rsrp_lava.tasks.data import DataSet, load_data
from rsrp_lava.threads import available_threads

LEARNING_RATE, WEIGHT_DECAY = 5e-4, 1e-3
#: Test images a forward pass.
_IMAGES = 2000


@dataclass(frozen=True)
class BackpropResult:
    """What backpropagation reached."""

    accuracies: list[tuple[int, float]]  #: (steps, accuracy on the test images), every `evaluate_every` steps
    learning_rate: float


def train_backprop(
    experiment: Experiment, threads: int | None = None, learning_rate: float = LEARNING_RATE
) -> BackpropResult:
    """Train the experiment's network by backpropagation: as many steps as it has generations, of `batch` images each.

    Of the experiment count its task, data, layers (hidden and conv), seed, batch, generations and evaluate_every.

    Raises `EngineError` without torch, `DataError` without the images
    """
    try:
        import torch
    except ImportError:
        raise EngineError("backprop: torch is not installed; pip install 'rsrp-lava[baselines]'") from None
    network = experiment.build_network()
    assert isinstance(network, LayeredNetwork)
    task = experiment.build_task()
    assert isinstance(task, ClassifyTask)
    data = load_data(experiment.task, experiment.data, options=task.dataset)
    torch.set_num_threads(threads or available_threads())
    torch.manual_seed(experiment.seed)
    model = _model(torch, network)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY)
    order = BatchOrder(experiment.seed, len(data.train), min(experiment.batch, len(data.train)))
    accuracies = []
    for step in range(experiment.generations):
        if step % experiment.evaluate_every == 0:
            accuracies.append((step, _accuracy(torch, model, network, data)))
        chosen = order.indices(step)
        x = _input(torch, network, data, data.train.images[chosen])
        loss = torch.nn.functional.cross_entropy(model(x), torch.from_numpy(data.train.labels[chosen].astype(np.int64)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    accuracies.append((experiment.generations, _accuracy(torch, model, network, data)))
    return BackpropResult(accuracies, learning_rate)


def _model(torch: Any, network: LayeredNetwork) -> Any:
    nn, layers, channels = torch.nn, [], network.shape[2]
    for filters in network.options.conv:
        layers += [nn.Conv2d(channels, filters, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2)]
        channels = filters
    layers.append(nn.Flatten())
    sizes = (int(np.prod(network.feature_shape)), *network.sizes[1:])
    for k in range(len(sizes) - 1):
        layers += [nn.Linear(sizes[k], sizes[k + 1], bias=False), *([nn.ReLU()] if k < len(sizes) - 2 else [])]
    return nn.Sequential(*layers)


def _input(torch: Any, network: LayeredNetwork, data: DataSet, images: np.ndarray) -> Any:
    pictures = images.reshape(-1, *network.shape).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return torch.from_numpy((pictures - np.float32(data.mean)) / np.float32(data.std))


def _accuracy(torch: Any, model: Any, network: LayeredNetwork, data: DataSet) -> float:
    correct = 0
    with torch.no_grad():
        for first in range(0, len(data.test), _IMAGES):
            part = slice(first, first + _IMAGES)
            scores = model(_input(torch, network, data, data.test.images[part])).numpy()
            correct += int((scores.argmax(axis=1) == data.test.labels[part]).sum())
    return correct / len(data.test)


__all__ = ["BackpropResult", "train_backprop"]
