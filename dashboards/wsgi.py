"""The Optuna Dashboard as it is deployed: `waitress-serve --listen=127.0.0.1:8080 wsgi:application`.

Environment:
    LRSEARCH_OPTUNA: the Optuna storage's URL.
    LRSEARCH_TOKEN, or LRSEARCH_TOKEN_FILE: the token, or the file that holds it. There is no default.
    LRSEARCH_HOSTS: names that browsers may use besides localhost, with commas between.
"""

import os
from pathlib import Path

from lrsearch.errors import UsageError
from lrsearch.report.dashboard import application as dashboard
from lrsearch.report.dashboard import guarded


def _token() -> str:
    file = os.environ.get("LRSEARCH_TOKEN_FILE")
    return Path(file).read_text(encoding="utf-8").strip() if file else os.environ.get("LRSEARCH_TOKEN", "").strip()


def _storage() -> str:
    url = os.environ.get("LRSEARCH_OPTUNA", "")
    if not url:
        raise UsageError("set LRSEARCH_OPTUNA to the Optuna storage's URL")
    return url


application = guarded(dashboard(_storage()), _token(), os.environ.get("LRSEARCH_HOSTS", "").split(","))
