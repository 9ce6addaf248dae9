"""What `verify.py` finds in a pack that was changed, run as its receiver runs it: alone, with a bare Python."""

from __future__ import annotations

import ast
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from consumers.evidence import verify
from consumers.evidence.pack import Packed, json_file, packed
from tests.tidy import pages

SOURCE = Path(verify.__file__)

FILES: Mapping[str, bytes] = {
    "README.txt": b"What happened.\n",
    "answers/index.json": json_file([{"file": "events/0002.bin"}]),
    "confirmation.html": b"<p>yes</p>",
    "decisions/0001.json": json_file({"decision": "clear"}),
    "decisions/0001.published.bin": b"{}",
    "decisions/index.json": json_file(
        [{"file": "decisions/0001.json", "published": {"file": "decisions/0001.published.bin"}}]
    ),
    "events/0001.bin": b"\x00\xff{}",
    "events/0002.bin": b"",
    "events/0003.content.json": b"{}\n",
    "events/index.json": json_file(
        [{"file": f"events/{name}"} for name in ("0001.bin", "0002.bin", "0003.content.json")]
    ),
    "messages/0001.attempt-1.request.bin": b"POST / HTTP/1.1\r\n",
    "messages/0001.attempt-1.response.bin": b"HTTP/1.1 204 No Content\r\n",
    "messages/0001.bin": b"{}",
    "messages/index.json": json_file([{"file": "messages/0001.bin"}]),
    "policy.toml": b'version = "1"\n',
    "quarantine/0001.bin": b"\x1b[2J",
    "quarantine/index.json": json_file([{"file": "quarantine/0001.bin"}]),
    "state.json": json_file({}),
    "timeline.html": b"<table></table>",
    "timeline.json": json_file([{"file": "events/0001.bin"}, {"words": "no file"}]),
    "timeline.txt": b"[events/0001.bin]\n",
    "verify.py": SOURCE.read_bytes(),
}
"""A file of each kind that a pack may hold."""

PACK = packed(FILES, {"made_at": "2026-11-14T09:00:00+00:00", "made_by": "tester"})


def entries(pack: Packed = PACK) -> dict[str, bytes]:
    """What is in a pack, its manifest too."""
    with zipfile.ZipFile(io.BytesIO(pack.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(content: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return out.getvalue()


def run(folder: Path, pack: Path, *more: str) -> tuple[int, list[str]]:
    """The program in an empty folder, with an empty environment and nothing but the standard library."""
    bare = folder / "bare"
    bare.mkdir(exist_ok=True)
    program = shutil.copy(SOURCE, bare / "verify.py")
    done = subprocess.run(
        [sys.executable, "-I", "-S", program, str(pack), *more],
        cwd=bare,
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def problems(pack: Path, expect: str | None = None) -> list[str]:
    """What is wrong with a pack, by the same code in this process."""
    check = verify.Check(verify.Folder(pack) if pack.is_dir() else verify.Zip(pack))
    check.run(expect)
    return check.problems


def written(folder: Path, content: Mapping[str, bytes]) -> Path:
    """A zip of these, as a file."""
    file = folder / "pack.zip"
    file.write_bytes(zipped(content))
    return file


def unpacked(folder: Path) -> Path:
    """The pack as files in a folder."""
    with zipfile.ZipFile(io.BytesIO(PACK.content)) as archive:
        archive.extractall(folder / "pack")
    return folder / "pack"


def flipped(content: bytes) -> bytes:
    """The same with one bit of its middle byte turned; one byte where there was none."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if content else b"\x01"


class TestAlone:
    """As a program, away from us."""

    def test_what_is_as_it_was_passes(self, tmp_path: Path) -> None:
        """As a zip and as a folder, with the hash that was written down and without."""
        pack = written(tmp_path, entries())
        told = [
            "all 22 files are as the manifest says, made 2026-11-14T09:00:00+00:00 by tester",
            f"the manifest's hash is {PACK.sha256}",
        ]
        advice = "compare it with the hash that was written down when the pack was made, or give that by --expect"

        assert (0, [*told, advice]) == run(tmp_path, pack)
        assert (0, told) == run(tmp_path, pack, "--expect", PACK.sha256.upper())
        assert (0, told) == run(tmp_path, unpacked(tmp_path), "--expect", PACK.sha256)

    def test_what_was_changed_is_named(self, tmp_path: Path) -> None:
        """With both hashes, and the status says so too."""
        pack = written(tmp_path, {**entries(), "policy.toml": b'version = "2"\n'})

        status, lines = run(tmp_path, pack)

        assert status == 1
        assert lines[0].startswith("policy.toml: changed: sha256 ")
        assert " instead of " in lines[0]
        assert lines[1:] == ["NOT as it was made: 1 problems"]

    def test_a_pack_that_was_packed_again_passes(self, tmp_path: Path) -> None:
        """With the folders that other programs put in, and compressed."""
        again = {"events/": b"", **entries()}
        (tmp_path / "pack.zip").write_bytes(zipped(again, compression=zipfile.ZIP_DEFLATED))

        assert problems(tmp_path / "pack.zip", PACK.sha256) == []

    def test_what_is_no_pack_is_told(self, tmp_path: Path) -> None:
        """A file that is not there, no zip, and a folder without a manifest."""
        (tmp_path / "no.zip").write_bytes(b"PK")
        (tmp_path / "empty").mkdir()

        assert run(tmp_path, tmp_path / "missing.zip")[0] == 1
        assert run(tmp_path, tmp_path / "no.zip")[0] == 1
        assert run(tmp_path, tmp_path / "empty") == (1, [f"{tmp_path / 'empty'}: it has no manifest.json"])

    def test_it_is_written_for_python_3_8(self) -> None:
        """Its grammar is, and it imports the standard library only."""
        tree = ast.parse(SOURCE.read_text(), feature_version=(3, 8))
        imported = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [one.name for one in node.names]
                if isinstance(node, ast.Import)
                else [str(node.module)]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }

        assert imported <= sys.stdlib_module_names

    def test_the_wheel_has_it(self) -> None:
        """It is a module of a package that the wheel takes."""
        assert "consumers/evidence/verify.py" in pages.modules("consumers")
        assert (SOURCE.parent / "__init__.py").is_file()


@pytest.mark.parametrize("name", sorted(FILES))
class TestEachFile:
    """Every file of a pack in turn."""

    def test_a_flipped_bit_is_named(self, tmp_path: Path, name: str) -> None:
        """The file, and none but that."""
        pack = written(tmp_path, {**entries(), name: flipped(FILES[name])})

        found = problems(pack, PACK.sha256)

        assert [one.split(": changed: ")[0] for one in found if ": changed: " in one] == [name]

    def test_a_flipped_bit_of_an_unpacked_file_is_named(self, tmp_path: Path, name: str) -> None:
        """The same in a folder."""
        pack = unpacked(tmp_path)
        (pack / name).write_bytes(flipped(FILES[name]))

        found = problems(pack, PACK.sha256)

        assert [one.split(": changed: ")[0] for one in found if ": changed: " in one] == [name]

    def test_one_that_is_gone_is_named(self, tmp_path: Path, name: str) -> None:
        """It is missing."""
        left = {one: value for one, value in entries().items() if one != name}

        assert f"{name}: missing" in problems(written(tmp_path, left), PACK.sha256)

    def test_one_that_was_renamed_is_named_twice(self, tmp_path: Path, name: str) -> None:
        """Missing by its name, and added by another."""
        renamed = {("x-" + one if one == name else one): value for one, value in entries().items()}

        found = problems(written(tmp_path, renamed), PACK.sha256)

        assert {f"{name}: missing", f"x-{name}: added: the manifest does not list it"} <= set(found)


class TestManifest:
    """What somebody does who changes the manifest along with a file."""

    def test_a_changed_manifest_is_seen_by_its_own_hash(self, tmp_path: Path) -> None:
        """Where the forger did not compute it anew."""
        manifest = json.loads(entries()["manifest.json"])
        manifest["about"]["made_by"] = "somebody else"
        pack = written(tmp_path, {**entries(), "manifest.json": json_file(manifest)})

        assert problems(pack) == ["manifest.json: changed: it does not have the hash that it states"]

    def test_a_forged_pack_is_seen_by_the_hash_that_was_written_down(self, tmp_path: Path) -> None:
        """Whole in itself, and another one."""
        forged = packed({**FILES, "events/0001.bin": b"{}"}, {"made_by": "tester"})
        pack = written(tmp_path, entries(forged))

        assert problems(pack) == []
        expected = [f"manifest.json: is not the one of that pack: its hash is {forged.sha256}"]
        assert expected == problems(pack, PACK.sha256)
        assert expected == problems(pack, "")

    @pytest.mark.parametrize(
        "manifest",
        [
            b"{",
            b"[]",
            b"[" * 100_000,
            b'{"about": {"format": 1}, "files": [{"name": "../x", "size": 1, "sha256": ""}]}',
            b'{"about": {"format": 1}, "files": [{"name": "x", "size": true, "sha256": ""}]}',
            b'{"about": {"format": 1}, "files": [{"name": "x"}]}',
            b'{"about": {"format": 2}, "files": []}',
        ],
    )
    def test_what_is_no_manifest_ends_it(self, tmp_path: Path, manifest: bytes) -> None:
        """In a sentence, and never in an error of its own."""
        pack = written(tmp_path, {**entries(), "manifest.json": manifest})

        with pytest.raises(verify.BrokenError, match=r"^its manifest\.json "):
            problems(pack)

    def test_an_index_that_refers_to_nothing_is_named(self, tmp_path: Path) -> None:
        """A pack that was made wrong, or in which an event was forgotten."""
        broken = {**FILES, "timeline.json": json_file([{"file": "events/0009.bin"}])}
        pack = written(tmp_path, entries(packed(broken, {})))

        assert problems(pack) == ["timeline.json: refers to events/0009.bin, which is not in the pack"]


class TestHostileZip:
    """Zip files that were made to do harm to whoever opens them."""

    @pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "C:x", "a\\..\\x", "a//x", "./x", "../", "x//"])
    def test_a_name_that_leads_out_is_named(self, tmp_path: Path, name: str) -> None:
        """And nothing was unpacked anywhere."""
        pack = written(tmp_path, {**entries(), name: b"x"})
        before = sorted(tmp_path.rglob("*"))

        assert [f"{name}: is a name that leads out of the pack: do not unpack it"] == problems(pack)
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_name_that_stands_twice_is_named(self, tmp_path: Path) -> None:
        """Which of the two somebody else's program shows, nobody knows."""
        out = io.BytesIO(zipped(entries()))
        with (
            zipfile.ZipFile(out, "a") as archive,
            pytest.warns(UserWarning, match="Duplicate name"),
        ):
            archive.writestr("policy.toml", FILES["policy.toml"])
        (tmp_path / "pack.zip").write_bytes(out.getvalue())

        assert problems(tmp_path / "pack.zip") == ["policy.toml: stands twice"]

    def test_one_that_was_cut_short_is_told(self, tmp_path: Path) -> None:
        """At whatever byte."""
        for length in range(0, len(PACK.content), 997):
            (tmp_path / "pack.zip").write_bytes(PACK.content[:length])
            assert verify.main([str(tmp_path / "pack.zip")]) == 1

    def test_no_flipped_byte_of_the_zip_passes_as_another_content(self, tmp_path: Path) -> None:
        """It is told, or changes nothing that the pack says."""
        whole = entries()
        for at in range(0, len(PACK.content), 101):
            (tmp_path / "pack.zip").write_bytes(
                PACK.content[:at] + bytes([PACK.content[at] ^ 0x10]) + PACK.content[at + 1 :]
            )
            if verify.main([str(tmp_path / "pack.zip"), "--expect", PACK.sha256]) == 0:
                with zipfile.ZipFile(tmp_path / "pack.zip") as archive:
                    assert whole == {name: archive.read(name) for name in archive.namelist()}

    def test_a_bomb_is_not_read(self, tmp_path: Path) -> None:
        """One that says how large it is ends it; one that grew is read no further than the manifest says."""
        pack = tmp_path / "pack.zip"
        pack.write_bytes(zipped({**entries(), "policy.toml": b"\0" * 50_000_000}, compression=zipfile.ZIP_DEFLATED))

        assert pack.stat().st_size < 200_000
        assert problems(pack) == ["policy.toml: changed: larger than 14 bytes"]

    def test_more_than_a_pack_may_hold_ends_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """In bytes that it claims, and in files."""
        pack = written(tmp_path, entries())

        monkeypatch.setattr(verify, "TOTAL_MAX_BYTES", 1_000)
        with pytest.raises(verify.BrokenError, match="claims to hold more than 1000 bytes"):
            problems(pack)
        monkeypatch.setattr(verify, "FILES_MAX", 10)
        with pytest.raises(verify.BrokenError, match="holds more than 10 files"):
            problems(pack)
        with pytest.raises(verify.BrokenError, match="holds more than 10 files"):
            problems(unpacked(tmp_path))

    def test_a_link_in_a_folder_is_named(self, tmp_path: Path) -> None:
        """What it leads to is not read."""
        pack = unpacked(tmp_path)
        (pack / "link").symlink_to("/")

        assert problems(pack) == ["link: is a link, which no pack has"]

    def test_nothing_steers_a_terminal(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A name is printed without what could."""
        pack = written(tmp_path, {**entries(), "\x1b[2J\u202e.bin": b""})

        assert verify.main([str(pack)]) == 1
        assert capsys.readouterr().out.splitlines()[0] == "?[2J?.bin: added: the manifest does not list it"
