"""What is worth remembering of what strangers send: short texts, which come again and again."""

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import Generic, TypeVar

T = TypeVar("T")
SHORT = 100  # characters: no honest header of those that are read here is longer, and long ones would fill the memory


class Remembered(Generic[T]):
    """Makes of a function of one text an `lru_cache`, but what is longer than SHORT is worked out each time."""

    def __init__(self, function: Callable[[str], T]) -> None:
        self.remembered, self.function = lru_cache(maxsize=1024)(function), function
        update_wrapper(self, function)

    def __call__(self, text: str) -> T:
        return self.remembered(text) if len(text) <= SHORT else self.function(text)
