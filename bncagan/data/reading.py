"""The processes that read photographs for training.

Each makes every n-th batch and sends it through a pipe of its own. The pipes need no shared memory, of which a
container has little (64 MB in Docker). A process that ends by itself is noticed at once, because its pipe closes.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from bncagan.data.samples import Samples, UnpairedDataset
from runtimes.errors import StoppedError, UserError

WAITING = 1  # finished batches that wait in a process while another is sent and another is made


class StepSampler:
    """The sample numbers of the steps from `start` to `stop` for process `rank` of `world`."""

    def __init__(self, start: int, stop: int, batch: int, rank: int, world: int) -> None:
        self.steps = range(start, stop)
        self.batch, self.rank, self.world = batch, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            first = (step * self.world + self.rank) * self.batch
            yield list(range(first, first + self.batch))

    def __len__(self) -> int:
        return len(self.steps)


def collate(samples: list[Samples]) -> Samples:
    """Make a batch of single samples. Without a rendering, `original` is the tensor `low` itself and is sent once."""
    *tensors, skipped = zip(*samples, strict=True)
    low, high, original, before, rendered = (torch.stack(parts) for parts in tensors)
    messages = tuple(message for each in skipped for message in each)
    return Samples(low, high, original if rendered.any() else low, before, rendered, messages)


def training_batches(
    dataset: UnpairedDataset, start: int, stop: int, rank: int, world: int, *, patience: float | None = None
) -> Generator[Samples, None, None]:
    """Yield the batches of the steps from `start` to `stop`, read in advance by `workers` processes.

    Closing the generator ends the processes. Errors: those of the data set; StoppedError if a process has ended by
    itself, or if a batch does not come for `patience` seconds.
    """
    sampler = StepSampler(start, stop, dataset.config.batch, rank, world)
    if not dataset.config.workers:
        yield from (_batch(dataset, numbers) for numbers in sampler)
        return
    with _readers(dataset, sampler) as readers, ThreadPoolExecutor(1) as receiver:
        # One more batch is received while a step is computed
        coming = [receiver.submit(_received, *reader, patience) for reader in readers[:1]]
        try:
            for following in range(1, len(sampler) + 1):
                batch = coming.pop().result()
                if following < len(sampler):
                    coming.append(receiver.submit(_received, *readers[following % len(readers)], patience))
                yield batch
        finally:
            for process, _ in readers:
                process.kill()  # not terminate: it may hang in a read, and has nothing to lose


def _batch(dataset: UnpairedDataset, numbers: Iterable[int]) -> Samples:
    return collate([dataset[number] for number in numbers])


@contextlib.contextmanager
def _readers(dataset: UnpairedDataset, sampler: StepSampler) -> Iterator[list[tuple[BaseProcess, Connection]]]:
    """The reading processes and the pipes that their batches come out of."""
    context, count = _context(), min(dataset.config.workers, len(sampler))
    readers: list[tuple[BaseProcess, Connection]] = []
    try:
        with _ctrl_c_held_back():
            for place in range(count):
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_read, args=(dataset, sampler, place, count, theirs), daemon=True)
                process.start()
                theirs.close()  # so that the pipe ends with the process
                readers.append((process, ours))
        yield readers
    finally:
        for process, ours in readers:
            process.kill()
            process.join()
            ours.close()


def _received(process: BaseProcess, connection: Connection, patience: float | None) -> Samples:
    """The next batch of a process."""
    if not connection.poll(patience):
        assert patience is not None
        raise StoppedError(f"no photographs came for {patience / 60:g} minutes (--patience)")
    try:
        received = connection.recv()
    except (EOFError, OSError) as error:  # at the end of a message or in the middle of one
        process.join()
        code = process.exitcode or 0
        how = f"by {signal.Signals(-code).name}; was there enough memory?" if code < 0 else f"with exit code {code}"
        raise StoppedError(f"a process that reads photographs has ended ({how})") from error
    if isinstance(received, Exception):
        raise received
    *arrays, skipped = received
    low, high, original, before, rendered = map(torch.from_numpy, arrays)
    return Samples(low, high, original, before, rendered, skipped)


# In a reading process


def _read(dataset: UnpairedDataset, sampler: StepSampler, place: int, count: int, connection: Connection) -> None:
    """Send every `count`-th batch from `place` on, as arrays: PyTorch would put tensors into shared memory."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    made: queue.Queue[Any] = queue.Queue(WAITING)
    sender = threading.Thread(target=_send, args=(made, connection), daemon=True)
    sender.start()
    try:
        for numbers in itertools.islice(sampler, place, None, count):
            *tensors, skipped = _batch(dataset, numbers)
            arrays = {id(tensor): tensor.numpy() for tensor in tensors}
            made.put((*(arrays[id(tensor)] for tensor in tensors), skipped))
    except (UserError, OSError) as error:
        made.put(error)
    made.put(None)
    sender.join()


def _send(made: queue.Queue[Any], connection: Connection) -> None:
    try:
        while (batch := made.get()) is not None:
            connection.send(batch)
    except OSError:  # the training process is gone
        os._exit(1)


def _end_with_parent() -> None:
    """End this process when the training process is killed, even if it hangs in a read."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach, although they are in the terminal's group: the training ends them."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # which would let the signal through, if it started below
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _context() -> Any:
    """How reading processes start: each as a fresh process, not as a fork of this one.

    A fork has the objects of this process without the threads that they wait for: one in which Python frees an
    OpenVINO model hangs. From version 3.14 on, Python does the same by itself.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # so that torch is imported once, not by each process
    return context
