"""Bodies, read strictly: JSON as RFC 8259 has it, and UTF-8 only, whatever the format."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from django.utils.datastructures import MultiValueDict
from rest_framework import parsers
from rest_framework.exceptions import ParseError, UnsupportedMediaType

MAX_DEPTH = 32
MAX_KEYS = 1000

ParserContext = Mapping[str, Any] | None


def require_utf8(context: ParserContext) -> None:
    """Refuse a body whose Content-Type names another character set."""
    content_type = context["request"].META.get("CONTENT_TYPE", "") if context else ""
    charset = context["request"]._request.content_params.get("charset", "utf-8") if context else "utf-8"
    if charset.lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(content_type)


class JSONParser(parsers.JSONParser):
    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: ParserContext = None) -> Any:
        require_utf8(parser_context)
        try:
            data = DECODER.decode(stream.read().decode("utf-8"))
        except (ValueError, RecursionError):
            raise ParseError from None
        _check_depth(data)
        return data


class FormParser(parsers.FormParser):
    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: ParserContext = None) -> Any:
        require_utf8(parser_context)
        form = super().parse(stream, media_type, parser_context)
        _require_one_value_each(form)
        return form


class MultiPartParser(parsers.MultiPartParser):
    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: ParserContext = None) -> Any:
        require_utf8(parser_context)
        form = super().parse(stream, media_type, parser_context)
        _require_one_value_each(form.data, form.files)
        return form


def _require_one_value_each(*forms: MultiValueDict) -> None:
    """The same for forms as `_object` for JSON."""
    times = Counter(name for form in forms for name, values in form.lists() for _value in values)
    if max(times.values(), default=0) > 1:
        raise ParseError


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no name stands twice: two readers of one body must not see two different values."""
    data = dict(pairs)
    if not len(data) == len(pairs) <= MAX_KEYS:
        raise ValueError
    return data


def _refuse(_constant: str) -> NoReturn:
    raise ValueError  # NaN and Infinity are no JSON


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError
    return number


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)


def _check_depth(data: Any) -> None:
    level, depth = [data], 0
    while containers := [value for value in level if isinstance(value, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ParseError
        level = [inner for value in containers for inner in (value.values() if isinstance(value, dict) else value)]
