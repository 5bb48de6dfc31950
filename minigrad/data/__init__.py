"""Data: from single items to batches of Tensors.

    dataset   gives item i                        datasets, columns, published, toy
    transform changes an item                     transforms
    sampler   says which items, in which order    samplers
    collate   makes one batch of some items       collating
    worker    does all that beside the training   workers
    loader    puts them together                  loaders

    loader = data.DataLoader(data.TensorDataset(x, y), batch_size=32, shuffle=True, num_workers=4)
    for x, y in loader: ...

The order of an epoch and every draw of a random transform depend on (seed, epoch, index) alone:
they are the same with any number of workers, and after a resumed run as in one that went through.
"""

from minigrad.data.collating import PaddedCollate, default_collate
from minigrad.data.columns import ColumnDataset
from minigrad.data.datasets import (
    ConcatDataset,
    Dataset,
    IterableDataset,
    MapDataset,
    StackDataset,
    Subset,
    TensorDataset,
)
from minigrad.data.idx import read_idx, write_idx
from minigrad.data.loaders import DataLoader, DataLoaderBuilder, Plan
from minigrad.data.published import MNIST, FashionMNIST, digits
from minigrad.data.samplers import (
    BatchSampler,
    BucketBatchSampler,
    DistributedSampler,
    GroupBatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    TokenBatchSampler,
    WeightedRandomSampler,
)
from minigrad.data.slices import from_tensor_slices
from minigrad.data.splits import random_split, train_test_split
from minigrad.data.toy import ToyDataGenerator
from minigrad.data.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip
from minigrad.data.workers import WorkerInfo, get_worker_info

__all__ = [
    "MNIST", "BatchSampler", "BucketBatchSampler", "ColumnDataset", "Compose", "ConcatDataset",
    "DataLoader", "DataLoaderBuilder", "Dataset", "DistributedSampler", "FashionMNIST",
    "GroupBatchSampler", "IterableDataset", "MapDataset", "Normalize", "PaddedCollate", "Plan",
    "RandomCrop", "RandomHorizontalFlip", "RandomSampler", "Sampler", "SequentialSampler",
    "StackDataset", "Subset", "SubsetRandomSampler", "TensorDataset", "TokenBatchSampler",
    "ToyDataGenerator", "WeightedRandomSampler", "WorkerInfo", "default_collate", "digits",
    "from_tensor_slices", "get_worker_info", "random_split", "read_idx", "train_test_split",
    "write_idx",
]  # fmt: skip
