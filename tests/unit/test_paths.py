"""Paths: no name of a client's, and no key of an app's, leaves the place that is meant for it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_s3handoff.config import HandoffConfig
from flask_s3handoff.errors import Forged, InvalidKey
from flask_s3handoff.folder import Folder
from flask_s3handoff.paths import (
    MAX_FILENAME_LENGTH,
    MAX_NAME_LENGTH,
    check_key,
    check_prefix,
    display_name,
    is_below,
    is_relpath,
    new_relpath,
    normal_url_path,
    resolve_url_path,
    suffix_of,
)
from flask_s3handoff.tokens import Binding, Claim, Kept, Token, TokenSigner
from tests.bad_names import BAD_NAMES


@pytest.mark.parametrize(
    "name", ["", "a\ud800.png", *BAD_NAMES.values()], ids=["empty", "B43-surrogate", *BAD_NAMES]
)
def test_any_name_makes_a_safe_relative_path(name: str) -> None:
    """B41–B62: what a client calls its file never decides where it lies."""
    relpath = new_relpath(name)
    last = relpath.rpartition("/")[2]

    assert is_relpath(relpath)
    assert os.path.normpath(relpath) == relpath
    assert len(last) <= MAX_NAME_LENGTH
    assert last.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"}


@given(st.text(max_size=400))
def test_every_text_makes_a_safe_relative_path(name: str) -> None:
    """No text at all breaks the grammar."""
    assert is_relpath(new_relpath(name))
    assert len(display_name(name)) <= MAX_FILENAME_LENGTH


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("Leo.JPG", ".JPG"),
        ("日本語.png", ".png"),
        ("x.tar.gz", ".gz"),
        ("a" * 300 + ".jpeg", ".jpeg"),
        ("x", ""),
    ],
)
def test_the_suffix_is_kept_because_code_picks_formats_by_it(name: str, suffix: str) -> None:
    """Pillow saves by suffix."""
    assert suffix_of(new_relpath(name)) == suffix


def test_a_relative_path_begins_with_the_day_and_is_never_the_same() -> None:
    """Days are for lifecycle and people; 130 random bits keep files apart."""
    first, second = new_relpath("x.png", now=0), new_relpath("x.png", now=0)

    assert first.startswith("19700101/")
    assert first != second
    assert len(first.split("/")[1]) == 26


@pytest.mark.parametrize(
    "text", ["", "x", "20261123/short/x.png", "../x", f"20261123/{'a' * 26}/../x", None, 3,
             f"20261123/{'a' * 26}/x.png\n", f"20261123/{'A' * 26}/x.png", f"20261123/{'a' * 26}/.x"],
    ids=repr,
)  # fmt: skip
def test_only_our_own_grammar_is_a_relative_path(text: object) -> None:
    """Judged by full match, although it is signed (T1)."""
    assert not is_relpath(text)


def test_a_display_name_keeps_the_clients_letters_without_its_tricks() -> None:
    """B43, B50, B53: controls and direction marks go; nothing is normalised silently."""
    assert display_name("gnp\u202efdp.exe") == "gnpfdp.exe"
    assert display_name("a\x00b\x85.png") == "ab.png"
    assert display_name("e\u0301.png") == "e\u0301.png"
    assert display_name("../../x") == "../../x"
    assert display_name("a" * 300 + ".jpeg").endswith(".jpeg")


@pytest.mark.parametrize(
    "key",
    ["", "/x", "x/", "a//b", "a/./b", "a/../b", "..", "a\\b", "a\nb", "a\0b", "a\x7fb", "\ud800", "x" * 901,
     "é" * 500, None, 5, b"x"],
    ids=lambda key: f"{key!r:.20}",
)  # fmt: skip
def test_a_key_that_servers_disagree_about_is_refused(key: object) -> None:
    """Dot segments vanish in URLs, slashes collapse, backslashes turn (reference: components)."""
    with pytest.raises(InvalidKey):
        check_key(key)


@pytest.mark.parametrize("key", ["users/1/é 日本 %+&.jpg", "a", "x" * 900, "users/...a/b"])
def test_an_ordinary_key_is_taken(key: str) -> None:
    """Spaces, percent signs and any script are fine."""
    assert check_key(key) == key


def test_a_prefix_ends_with_a_slash() -> None:
    """So ``users/1/`` never matches ``users/10/`` (T29)."""
    assert check_prefix("users/1/") == "users/1/"
    for wrong in ("users/1", "users/10", "", "/", "a//", "../"):
        with pytest.raises(InvalidKey):
            check_prefix(wrong)


@pytest.mark.parametrize(
    ("base", "reference", "path"),
    [
        ("/profile/edit", "", "/profile/edit"),
        ("/profile/edit", "?a=1", "/profile/edit"),
        ("/profile/edit", "#top", "/profile/edit"),
        ("/profile/edit", "save", "/profile/save"),
        ("/profile/edit/", "save", "/profile/edit/save"),
        ("/profile/edit", "../admin", "/admin"),
        ("/profile/edit", "../../../admin", "/admin"),
        ("/profile/edit", "/x?y#z", "/x"),
        ("/profile/edit", "https://app.example/y?z", "/y"),
        ("/profile/edit", "https://app.example", "/"),
        ("/profile/edit", "/profile/%2e%2e/admin", "/admin"),
        ("/profile/edit", "/profile/%2f/../../admin", "/admin"),
        ("/profile/edit", "/profile/..%2fadmin", "/admin"),
        ("/profile/edit", "/profile/%252e%252e/admin", "/profile/%2e%2e/admin"),
        ("/profile/edit", "a/b:c", "/profile/a/b:c"),
        ("/profile/edit", "./", "/profile/"),
    ],
)
def test_a_reference_means_the_path_that_a_browser_would_ask_for(
    base: str, reference: str, path: str
) -> None:
    """Paths are judged resolved: dot segments cannot leave S3HANDOFF_PATHS."""
    assert resolve_url_path(base, reference) == path


def test_a_prefix_of_paths_covers_whole_segments() -> None:
    """``/profile`` is not ``/profiles``; ``/`` is everything."""
    assert is_below("/profile", ("/profile/",))
    assert is_below("/profile/edit", ("/profile",))
    assert not is_below("/profiles", ("/profile",))
    assert is_below("/anything", ("/",))
    assert not is_below(normal_url_path("/profile/../admin"), ("/profile",))


ADVISORY = {
    "a step up, on Windows": "20261123/..\\..\\secret",
    "a step up": "20261123/../../secret",
    "a name that is a dot": "20261123/abcdefghijklmnopqrstuvwxyz/.",
    "a step up behind what is signed": "20261123/abcdefghijklmnopqrstuvwxyz/../../../users/1/cv.pdf",
    "a neighbour whose name begins alike": "20261123_evil/abcdefghijklmnopqrstuvwxyz/leo.png",
    "a step up that is signed itself": "20261123/abcdefghijklmnopqrstuvwxyz/x/../leo.png",
    "the same, on Windows": "20261123/abcdefghijklmnopqrstuvwxyz\\..\\leo.png",
    "the root": "/20261123/abcdefghijklmnopqrstuvwxyz/leo.png",
}


@pytest.mark.parametrize("path", ADVISORY.values(), ids=ADVISORY)
def test_t1_b41_the_paths_of_an_advisory_lead_nowhere_even_if_we_had_signed_them(path: str) -> None:
    """GHSA-67qg-7284-2277 of django-s3file: a signature says who wrote a path, not that it is one."""
    signer = TokenSigner(lambda: ["a secret key of 32 random bytes!"])
    claim = Claim(
        relpath=path,
        field="f",
        filename="x",
        content_type="x/y",
        size=0,
        sha256="5a" * 32,
        uploaded_at=0,
    )
    with pytest.raises(Forged):
        signer.read(signer.mint(Token(Binding(), (claim,))))
    assert not is_relpath(path)


@pytest.mark.parametrize("path", ADVISORY.values(), ids=ADVISORY)
def test_t23_b41_the_paths_of_an_advisory_are_no_files_of_a_folder(path: str) -> None:
    """Neither by a token nor by a listing; the neighbour is a folder of its own, inside."""
    places = {"kept/": {"path": "/srv/kept"}}
    settings = HandoffConfig.from_mapping({"S3HANDOFF_STORE": "memory", "S3HANDOFF_PLACES": places})
    never: Any = None
    folder = Folder(settings.folders[0], mirror=never, store=never, ledger=never)
    signer = TokenSigner(lambda: ["a secret key of 32 random bytes!"])
    text = signer.mint(Token(Binding(), (Kept(f"kept/{path}", "5a" * 32, 0),)))
    if "evil" in path:
        assert folder.key_of(path)
        assert signer.read(text).claims
        return
    with pytest.raises(InvalidKey):
        folder.key_of(path)
    with pytest.raises(Forged):
        signer.read(text)
