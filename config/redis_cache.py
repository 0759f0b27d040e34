"""Django's cache in Redis, with clients that are kept."""

from typing import Any

from django.core.cache.backends import redis


class Client(redis.RedisCacheClient):
    """Makes its client of Redis once: to make one for each call, as Django does, takes longer than the call."""

    _kept: Any = None

    def get_client(self, *args: Any, **kwargs: Any) -> Any:
        """There is one server, which is read and written."""
        if self._kept is None:
            self._kept = super().get_client(*args, **kwargs)
        return self._kept


class RedisCache(redis.RedisCache):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._class = Client
