"""An end to what waits for others."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in this thread once the block has taken `seconds`, and whatever it waits for has returned.

    The time-out of a socket begins anew with each byte: who sends one now and then could hold us for ever.
    """
    thread, turn, done = ctypes.c_ulong(threading.get_ident()), threading.Lock(), False

    def stop() -> None:
        with turn:
            if not done:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TimeoutError))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with turn:
            done = True
        timer.cancel()
