"""How a run ends before its last step: by Ctrl-C, by SIGTERM, or because no step comes any more."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

import torch
from lightning_fabric import Fabric

from runtimes.command import on_first_signal
from runtimes.errors import StoppedError

T = TypeVar("T")
SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
NO_ITEM: Any = object()


class Stopping:
    """A context manager in which the first signal ends the run between two steps, and a second one at once.

    patience: the seconds after which a step that does not end ends the process. The state cannot be saved then.
    """

    def __init__(self, fabric: Fabric, patience: float) -> None:
        self.fabric, self.patience = fabric, patience
        self.between = False  # whether the weights are those of a whole step
        self.agreed = False  # whether all of several processes end after the same step
        self._received = 0
        self._signals = on_first_signal(self._receive)
        self._alive = math.inf
        self._ended = threading.Event()

    def __enter__(self) -> Stopping:
        self._signals.__enter__()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._signals.__exit__(None, None, None)

    def items(self, source: Iterator[T]) -> Iterator[T]:
        """Yield the items; StoppedError, between two of them, after a signal."""
        while True:
            self._alive, self.between = time.monotonic(), True
            try:
                if self._received and self.fabric.world_size == 1:
                    self._stop()
                item = next(source, NO_ITEM)
            finally:
                self._alive = math.inf  # saving what an error leaves may take long
            self.between = False
            if item is NO_ITEM:
                return
            self._alive = time.monotonic()
            yield item

    def agree(self) -> None:
        """StoppedError if one of several processes has received a signal; all call this after the same step."""
        if self.fabric.world_size == 1:
            return
        received = self.fabric.all_reduce(self.fabric.to_device(torch.tensor(float(self._received))), reduce_op="sum")
        if received.item():
            self.between = self.agreed = True
            self._received = self._received or signal.SIGTERM
            self._stop()

    @contextlib.contextmanager
    def unwatched(self) -> Iterator[None]:
        """Work that may take longer than a step."""
        self._alive = math.inf
        yield
        self._alive = time.monotonic()

    def _receive(self, number: int) -> None:
        self._received = number
        if self.between and self.fabric.world_size == 1:
            self._stop()

    def _stop(self) -> NoReturn:
        raise StoppedError(f"was stopped by {SIGNALS[signal.Signals(self._received)]}", 128 + self._received)

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self.patience / 10)):
            if time.monotonic() - self._alive > self.patience:
                print(
                    f"bncagan: a step should end within {self.patience / 60:g} minutes (--patience) but does not; "
                    "look at the devices and the other processes, then continue with --resume",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(1)
