"""What several exports of one network share: golden pictures and answers at full size are drawn once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from bncagan.network.checkpoint import weights_sha256

T = TypeVar("T")
Store = dict[Hashable, Any]
_store: ContextVar[Store | None] = ContextVar("drawn pictures", default=None)


@contextmanager
def shared() -> Iterator[Store]:
    """A context in which a function marked `drawn_once` answers the same question by the same result.

    Photographs of equal names have to be equal in it. What it yields, `share` takes, in another process too.
    """
    store: Store = {}
    token = _store.set(store)
    try:
        yield store
    finally:
        _store.reset(token)


def share(known: Store) -> None:
    """The same for the rest of this process."""
    _store.set(known)


def drawn_once(draw: Callable[..., T]) -> Callable[..., T]:
    """Mark a function of a model, shapes or sides, photographs (by name, or None) and options that are hashable."""

    given = inspect.signature(draw).parameters.values()
    defaults = {option.name: option.default for option in given if option.kind is option.KEYWORD_ONLY}

    @functools.wraps(draw)
    def drawn(model: Any, shapes: Any, photos: Any, **options: Any) -> T:
        store = _store.get()
        if store is None:
            return draw(model, shapes, photos, **options)
        names = None if photos is None else tuple(photos)
        key = (draw.__name__, weights_sha256(model.state_dict()), shapes, names, *(defaults | options).items())
        if key not in store:
            store[key] = draw(model, shapes, photos, **options)
        found: T = store[key]
        return found

    return drawn
