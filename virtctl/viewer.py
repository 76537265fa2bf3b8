"""Which VNC viewer to start and with what words, per system and program."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from virtctl.errors import InputError

HOST = "127.0.0.1"
_APPLICATIONS = Path("/Applications")


class Viewer(NamedTuple):
    """A viewer and how it wants its arguments; `{port}` is replaced."""

    name: str
    arguments: tuple[str, ...]
    verbose: tuple[str, ...] = ()

    def argv(self, path: str, port: int, *, verbose: bool) -> list[str]:
        words = (*self.arguments, *(self.verbose if verbose else ()))
        return [path, *(word.format(port=port) for word in words)]


REMOTE_VIEWER = Viewer("remote-viewer", (f"vnc://{HOST}:{{port}}",), ("--debug",))
TIGER = Viewer("tiger", (f"{HOST}:{{port}}",), ("Log=*:stderr:100",))
CHICKEN = Viewer("chicken", (f"{HOST}:{{port}}",))
REAL = Viewer("real", (f"{HOST}:{{port}}", "-WarnUnencrypted=0", "-Shared=0", "-ShareFiles=0"), ("-log=*:stderr:100",))
TYPES = {viewer.name: viewer for viewer in (TIGER, CHICKEN, REAL, REMOTE_VIEWER)}

_LINUX = {"remote-viewer": REMOTE_VIEWER, "vncviewer": TIGER}
_PROGRAMS = {"tiger": "vncviewer", "remote-viewer": "remote-viewer"}
INSTALL_HINT = (
    "Install one (Debian: apt install virt-viewer), or connect any viewer to `virtctl vnc NAME --proxy-only`."
)


def choose(vnc_type: str, vnc_path: str) -> tuple[Viewer, str]:
    """The viewer and the path of its program, as the flags or the system say. Raises InputError."""
    if vnc_type and vnc_type not in TYPES:
        raise InputError(f"unsupported vnc-type: {vnc_type}", hint=f"One of {', '.join(sorted(TYPES))}.")
    if vnc_path:
        if not Path(vnc_path).is_file():
            raise InputError(f"specified VNC path does not exist: {vnc_path}")
        return TYPES[vnc_type] if vnc_type else _by_program(vnc_path), vnc_path
    if vnc_type:
        return TYPES[vnc_type], _program_of(vnc_type)
    return _on_macos() if sys.platform == "darwin" else _on_linux()


def _by_program(path: str) -> Viewer:
    return REMOTE_VIEWER if "remote-viewer" in Path(path).name else TIGER


def _program_of(vnc_type: str) -> str:
    if vnc_type not in _PROGRAMS and sys.platform != "darwin":
        raise InputError(f"unsupported vnc-type for {sys.platform}: {vnc_type}", hint=INSTALL_HINT)
    program = _PROGRAMS.get(vnc_type)
    if program is None:
        return next(path for viewer, path in _mac_candidates() if viewer.name == vnc_type)
    found = shutil.which(program)
    if not found:
        raise InputError(f"could not find {program} in $PATH", hint=INSTALL_HINT)
    return found


def _on_linux() -> tuple[Viewer, str]:
    for program, viewer in _LINUX.items():
        if found := shutil.which(program):
            return viewer, found
    raise InputError("could not find remote-viewer or vncviewer binary in $PATH", hint=INSTALL_HINT)


def _mac_candidates() -> list[tuple[Viewer, str]]:
    tiger = sorted(_APPLICATIONS.glob("TigerVNC Viewer *.app/Contents/MacOS/TigerVNC Viewer"))
    return [
        (TIGER, str(_APPLICATIONS / "TigerVNC.app/Contents/MacOS/vncviewer")),
        *((TIGER, str(path)) for path in tiger[-1:]),
        (CHICKEN, str(_APPLICATIONS / "Chicken.app/Contents/MacOS/Chicken")),
        (REAL, str(_APPLICATIONS / "VNC Viewer.app/Contents/MacOS/vncviewer")),
    ]


def _on_macos() -> tuple[Viewer, str]:
    for viewer, path in _mac_candidates():
        if Path(path).exists():
            return viewer, path
    if found := shutil.which("remote-viewer"):
        return REMOTE_VIEWER, found
    raise InputError("no supported VNC app found for darwin", hint=INSTALL_HINT)
