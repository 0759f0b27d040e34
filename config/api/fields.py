"""Fields that take just the JSON type they stand for, and strings that hold text and nothing else."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any

from django.core.validators import MaxLengthValidator, MinLengthValidator, ProhibitNullCharactersValidator
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.utils import html
from rest_framework.validators import ProhibitSurrogateCharactersValidator

# Control characters, surrogates, line and paragraph separators, zero-width and byte-order marks, bidi controls.
# The zero-width joiner stays: it is part of many emoji, and so of passwords.
FORBIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffd]"
)

LOOKED_FOR_BEFORE = (ProhibitNullCharactersValidator, ProhibitSurrogateCharactersValidator)
"""Among those above, by DRF character by character."""


class AsSent:
    """Takes a form as it takes JSON: what is not sent is missing, and what is sent empty is an empty string.

    Each serializer has fields of its own, which DRF makes anew. A copy holds the same, and takes a sixth of the time.
    """

    field_name: Any

    def __deepcopy__(self, memo: Any) -> Any:
        copied = object.__new__(type(self))
        vars(copied).update(vars(self))
        return copied

    def get_value(self, dictionary: Mapping[str, Any]) -> Any:
        return dictionary.get(self.field_name, empty)


class StringField(AsSent, serializers.CharField):
    """A string of text; a number or a boolean is refused, where DRF would make a string of it."""

    default_error_messages = {"invalid_characters": _("Control and invisible characters are not allowed.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.validators = [rule for rule in self.validators if not isinstance(rule, LOOKED_FOR_BEFORE)]
        for (
            rule
        ) in self.validators:  # which copies share, while DRF's message stays in the language it is first told in
            if isinstance(rule, MaxLengthValidator | MinLengthValidator):
                rule.message = format_lazy(self.error_messages[rule.code], **{rule.code: rule.limit_value})

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if FORBIDDEN.search(data):
            self.fail("invalid_characters")
        return super().to_internal_value(data)


class SecretField(StringField):
    """A password or a token: taken to the letter, never shown."""

    def __init__(self, **kwargs: Any) -> None:
        secret: dict[str, Any] = {"write_only": True, "trim_whitespace": False, "style": {"input_type": "password"}}
        super().__init__(**secret | kwargs)


class BooleanField(AsSent, serializers.BooleanField):
    """`true` or `false`; in a form, where everything is a string, those very words."""

    def get_value(self, dictionary: Mapping[str, Any]) -> Any:
        value = super().get_value(dictionary)
        return {"true": True, "false": False}.get(value, value) if html.is_html_input(dictionary) else value

    def to_internal_value(self, data: Any) -> bool:
        return data if isinstance(data, bool) else self.fail("invalid", input=data)


MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)", re.ASCII)
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


MOMENT_SCHEMA = [
    {"title": "date and time", "type": "string", "format": "date-time"},
    {"title": "date", "type": "string", "format": "date"},
]


class DayField(AsSent, serializers.DateField):
    """A day of this millennium."""

    default_error_messages = {"invalid": _("Write a date, like 2030-12-31, between the years 2000 and 2999.")}

    def to_internal_value(self, value: Any) -> date:
        try:
            if isinstance(value, str) and DAY.fullmatch(value) and value.startswith("2"):
                return date.fromisoformat(value)
        except ValueError:
            pass
        return self.fail("invalid")


@extend_schema_field({"anyOf": MOMENT_SCHEMA})
class MomentField(AsSent, serializers.DateTimeField):
    """A moment in UTC, read from RFC 3339: a date and time with an offset, or a bare date for the end of that day."""

    default_error_messages = {
        "invalid": _("Write a date and time with an offset, like 2030-12-31T18:00:00Z, or a date, like 2030-12-31.")
    }

    def to_internal_value(self, value: Any) -> datetime:
        try:
            if isinstance(value, str) and DAY.fullmatch(value):
                return datetime.combine(date.fromisoformat(value), time.max, UTC)
            if isinstance(value, str) and MOMENT.fullmatch(value):
                return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        return self.fail("invalid")
