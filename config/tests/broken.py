"""Settings of a service one page of which fails, as pages do: with what it was given in the words of the error."""

from config.settings import *  # noqa: F403 (all of them; below is what differs)

ROOT_URLCONF = "config.tests.broken_urls"
