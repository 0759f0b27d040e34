"""Compile the translations, as `manage.py compilemessages` does, without GNU gettext."""

from pathlib import Path

import polib

for source in Path("locale").glob("*/LC_MESSAGES/django.po"):
    polib.pofile(str(source)).save_as_mofile(str(source.with_suffix(".mo")))
