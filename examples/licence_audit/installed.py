"""Installed distributions of this Python: names, and what each declares about its licence."""

import hashlib
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import PurePosixPath
from typing import Any

EXCERPT_LETTERS = 320
TEXT_LETTERS_MAX = 500_000
_CLASSIFIER = "License :: "
_FILE_NAMES = ("licen", "copying")
_CODE = frozenset({".py", ".pyc", ".pyi", ".js", ".json"})
_OWN = "headrace"


def list_packages() -> list[dict[str, str]]:
    """Name and version of every distribution but Headrace's own, by name."""
    found = {one.metadata["Name"]: one.version for one in distributions()}
    names = sorted((name for name in found if not name.startswith(_OWN)), key=str.casefold)
    return [{"name": name, "version": found[name]} for name in names]


def read_licence(name: str, version: str) -> dict[str, Any]:
    """What the metadata declare, and the text. Raises LookupError for what is not installed so."""
    try:
        package = distribution(name)
    except PackageNotFoundError:
        raise LookupError(f"{name} is not installed") from None
    if package.version != version:
        raise LookupError(f"{name} is installed as {package.version}, not as {version}")
    metadata = package.metadata.json
    expression = str(metadata.get("license_expression") or "")
    field = str(metadata.get("license") or "").strip()
    names = [
        str(line).rpartition(" :: ")[2]
        for line in metadata.get("classifier") or ()
        if str(line).startswith(_CLASSIFIER)
    ]
    file, text = _licence_text(package)
    return {
        "expression": expression,
        # Some put the whole text there.
        "field": field if "\n" not in field else "",
        "classifiers": names,
        "declared": expression or field.partition("\n")[0] or ", ".join(names),
        "file": file,
        "text": text,
        "text_bytes": len(text.encode()),
        "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "excerpt": " ".join(text.split())[:EXCERPT_LETTERS],
    }


def _licence_text(package: Distribution) -> tuple[str, str]:
    """Of all its licence files, the one nearest to the metadata first; empty where there is none.

    Some bring the licences of a hundred things that they bundle: such a text goes by reference.
    """
    candidates = sorted(
        (file for file in package.files or () if _is_licence(PurePosixPath(file))),
        key=lambda file: (".dist-info" not in str(file), len(file.parts), str(file)),
    )
    texts: dict[str, str] = {}
    for file in candidates:
        with suppress(OSError, UnicodeDecodeError):
            texts[str(file)] = file.read_text(encoding="utf-8")
    return next(iter(texts), ""), "\n\n".join(texts.values())[:TEXT_LETTERS_MAX]


def _is_licence(path: PurePosixPath) -> bool:
    name = path.name.casefold()
    return any(part in name for part in _FILE_NAMES) and path.suffix not in _CODE
