"""The environment of a run: versions, device and threads, as plain texts. It is part of no key."""

import platform
import sys
from collections.abc import Mapping
from typing import Any

LONGEST = 200
"""Rule: characters of a stored text."""
TRAINED, IN_LOCKSTEP, ALONE = "trained", "in lockstep", "alone"
"""How a run was trained: a run in lockstep equals the single run up to rounding."""
VERSIONED = ("lrsearch", "torch", "numpy")


def environment(device: str | None = None) -> dict[str, str]:
    """The environment of this process. It imports nothing: only loaded packages have a version.

    Args:
        device: the device, such as "cpu" or "cuda:0"; None where it is not known.

    >>> sorted({"python", "lrsearch"} & set(environment()))
    ['lrsearch', 'python']
    """
    values = {"python": platform.python_version()}
    values |= {name: str(sys.modules[name].__version__) for name in VERSIONED if name in sys.modules}
    torch = sys.modules.get("torch")
    if torch is not None:
        values |= {"threads": str(torch.get_num_threads()), "cpu": torch.backends.cpu.get_cpu_capability()}
    if device is None:
        return values
    is_gpu = torch is not None and device.startswith("cuda")
    return values | {"device": f"{device} ({torch.cuda.get_device_name(device)})" if is_gpu and torch else device}


def texts_of(values: Any) -> dict[str, str]:
    """Read a stored environment: short printable texts only; anything else is left out.

    >>> texts_of({"torch": "2.6", "odd": 5, "long": "x" * 1000}), texts_of(None)
    ({'torch': '2.6'}, {})
    """
    if not isinstance(values, Mapping):
        return {}
    return {name: text for name, text in values.items() if _is_short_text(name) and _is_short_text(text)}


def _is_short_text(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= LONGEST and text.isprintable()
