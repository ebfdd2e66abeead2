"""What the account `nobody` needs to run the server when user namespaces are forbidden."""

import os
import shutil
import stat
from pathlib import Path

from headrace_core.errors import SetupError
from headrace_runtime.postgres.binaries import Binaries
from headrace_runtime.postgres.identity import Launcher


def open_way_to(root: Path) -> None:
    """Let `nobody` pass through (not list) `root` and the Headrace home around it.

    Nothing above the home is changed. Raises SetupError, naming the folder that is closed.
    """
    home = root.parent.resolve()
    ours = [root] if home == Path.home().resolve() else [root, home]
    for folder in ours:
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o011)
    for folder in (home, *home.parents):
        if not folder.stat().st_mode & 0o001:
            raise SetupError(
                "This machine allows no user namespaces, so root must run PostgreSQL as 'nobody', "
                f"who cannot enter {folder}. Choose a home elsewhere: --home /var/lib/headrace."
            )


def reachable_binaries(binaries: Binaries, launcher: Launcher, root: Path) -> Binaries:
    """The installed programs, or a copy below `root` if the server's account cannot reach them."""
    if launcher.can_run(binaries):
        return binaries
    installation = binaries.folder.parent
    package = installation.parent
    home = root / f"binaries-{binaries.version}"
    if not home.exists():
        _copy(installation, package, home)
    folder = home / package.name / installation.name / "bin"
    copied = Binaries(folder, binaries.version, binaries.origin)
    if not launcher.can_run(copied):
        raise SetupError(
            f"The account 'nobody' can run PostgreSQL neither from {binaries.folder} nor from a "
            f"copy in {home}. Install PostgreSQL where all may run it, or start as another user."
        )
    return copied


def _copy(installation: Path, package: Path, home: Path) -> None:
    draft = home.with_name(".binaries.partial")
    shutil.rmtree(draft, ignore_errors=True)
    unneeded = shutil.ignore_patterns("*.a", "include", "pgxs", "__pycache__")
    inside = draft / package.name / installation.name
    shutil.copytree(installation, inside, symlinks=True, ignore=unneeded)
    # The programs look for the wheel's shared libraries beside its package.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, draft / libraries.name, symlinks=True)
    _open_to_all(draft)
    draft.rename(home)


def _open_to_all(root: Path) -> None:
    for folder, _, files in os.walk(root):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
