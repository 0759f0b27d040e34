"""Django's cache in Redis, with clients that are kept."""

import os
from typing import Any

from django.core.cache.backends import redis


class Client(redis.RedisCacheClient):
    """Makes its client of Redis once, which has one connection: to make one for each call, as Django does, takes longer
    than the call, and so does to ask a pool for a connection. Each thread has a cache, and so a client, of its own."""

    _kept: Any = None
    _process = 0

    def get_client(self, key: Any = None, *, write: bool = False) -> Any:
        """There is one server, which is read and written. After a fork, the connection is that of the parent alone."""
        if self._process != os.getpid():
            pooled: Any = super().get_client(key, write=True)
            self._kept, self._process = pooled.client(), os.getpid()
        return self._kept


class RedisCache(redis.RedisCache):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._class = Client
