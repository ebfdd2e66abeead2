"""Every stable code has a page that says what happened and what to do, and no page is orphaned."""

import re

from headrace_core.errors import HeadraceError
from tests.architecture.source import files, source_modules, text_of

CODE = re.compile(r"\bHR-[0-9]{4}\b")


def classes_below(root: type[HeadraceError]) -> set[type[HeadraceError]]:
    return {root}.union(*(classes_below(child) for child in root.__subclasses__()))


def is_family(code: str) -> bool:
    """HR-2000 and the like name a branch of the tree; nothing is raised with them."""
    return code.endswith("000")


def codes_of_the_tree() -> set[str]:
    classes = classes_below(HeadraceError)
    return {one.code for one in classes if one.__module__ == HeadraceError.__module__}


def codes_in_source() -> set[str]:
    return {code for module in source_modules() for code in CODE.findall(module.text)}


def pages() -> dict[str, str]:
    paths = [path for path in files() if path.startswith("docs/errors/HR-")]
    return {path.removeprefix("docs/errors/").removesuffix(".md"): path for path in paths}


def test_every_code_has_its_page() -> None:
    codes = {code for code in codes_of_the_tree() | codes_in_source() if not is_family(code)}
    assert sorted(codes - pages().keys()) == []


def test_every_page_belongs_to_a_code() -> None:
    assert sorted(pages().keys() - codes_in_source()) == []


def test_every_page_says_what_happened_and_what_to_do() -> None:
    for code, path in pages().items():
        heading, _, body = text_of(path).partition("\n")
        assert heading.startswith(f"# {code}"), path
        assert "## What to do" in body, path


def test_no_two_errors_share_a_code() -> None:
    own = [
        one.code
        for one in classes_below(HeadraceError)
        if "code" in vars(one) and not is_family(one.code)
    ]
    assert sorted(own) == sorted(set(own))
