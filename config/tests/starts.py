"""Starts without a process of their own: the settings are read here as a start reads them."""

import importlib
import os
import runpy
import secrets
import sys
from typing import Any
from unittest import mock

import pytest

from config.tests.live import ROOT

RANDOM_KEYS = {"SECRET_KEY": secrets.token_urlsafe(48), "JWT_SIGNING_KEY": secrets.token_urlsafe(48)}
WEAK_KEYS = {"SECRET_KEY": "k" * 50, "JWT_SIGNING_KEY": "j" * 32}


class RefusedError(Exception):
    """A start that was refused; names and what is said of them."""

    def __init__(self, text: str) -> None:
        first, *lines = text.splitlines()
        assert first == "The service does not start: settings are wrong."
        self.said = {name: line for line in lines for name in line.partition(":")[0].replace(",", "").split()}


def settings_of(environment: dict[str, str]) -> dict[str, Any]:
    """The settings that a process with this environment has. Raises RefusedError; anything else is a fault."""
    fresh = {name: module for name, module in sys.modules.items() if name != "config.environment"}
    with (
        mock.patch.dict(os.environ, {"ENV_FILE": os.devnull} | environment, clear=True),
        mock.patch.dict(sys.modules, fresh, clear=True),
    ):
        importlib.import_module("config.environment")  # which is read once
        try:
            return runpy.run_path(str(ROOT / "config/settings.py"))
        except SystemExit as refusal:
            raise RefusedError(str(refusal)) from None


def complaints_of(environment: dict[str, str]) -> dict[str, str]:
    with pytest.raises(RefusedError) as refused:
        settings_of(environment)
    return refused.value.said
