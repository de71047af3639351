"""What these tests share: the modules beside them, which read the files of docker/ and run what they name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
