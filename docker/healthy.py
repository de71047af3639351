"""The dashboard's health check: ends with exit code 0 where it reads the database and answers.

Usage:
    python healthy.py URL
"""

import os
import sys
from pathlib import Path
from urllib.request import Request, urlopen

token = Path(os.environ["LRSEARCH_TOKEN_FILE"]).read_text(encoding="utf-8").strip()
urlopen(Request(sys.argv[1], headers={"Authorization": f"Bearer {token}"}), timeout=5).close()  # noqa: S310
