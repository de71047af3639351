"""What a run was trained with: versions, device and threads, as plain texts. It is in no key."""

import platform
import sys
from collections.abc import Mapping
from typing import Any

LONGEST = 200
TRAINED, IN_LOCKSTEP, ALONE = "trained", "in lockstep", "alone"
"""How, beside other runs: in lockstep a run is what it is alone but for rounding."""
VERSIONED = ("lrsearch", "torch", "numpy")


def environment(device: str | None = None) -> dict[str, str]:
    """What this process trains with. Nothing is imported for it.

    Args:
        device: where, such as "cpu" or "cuda:0"; None where nobody knows.

    >>> sorted({"python", "lrsearch"} & set(environment()))
    ['lrsearch', 'python']
    """
    found = {"python": platform.python_version()}
    found |= {name: str(sys.modules[name].__version__) for name in VERSIONED if name in sys.modules}
    torch = sys.modules.get("torch")
    if torch is not None:
        found |= {"threads": str(torch.get_num_threads()), "cpu": torch.backends.cpu.get_cpu_capability()}
    if device is None:
        return found
    is_gpu = torch is not None and device.startswith("cuda")
    return found | {"device": f"{device} ({torch.cuda.get_device_name(device)})" if is_gpu and torch else device}


def texts_of(values: Any) -> dict[str, str]:
    """Read a stored environment: plain, short texts only; of anything else nothing.

    >>> texts_of({"torch": "2.6", "odd": 5, "long": "x" * 1000}), texts_of(None)
    ({'torch': '2.6'}, {})
    """
    if not isinstance(values, Mapping):
        return {}
    return {name: text for name, text in values.items() if _is_plain(name) and _is_plain(text)}


def _is_plain(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= LONGEST and text.isprintable()
