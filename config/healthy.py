"""Whether the web process here lives: a health check for an image that has no curl."""

import os
import sys
from urllib.request import Request, urlopen

url = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}/healthz"
try:
    with urlopen(Request(url, headers={"Host": "localhost"}), timeout=4) as answer:
        sys.exit(answer.status != 200)
except OSError as error:
    sys.exit(str(error))
