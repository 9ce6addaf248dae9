"""The channel `file` over real folders: no half file is seen, none is overwritten, answers are read and kept."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paramiko
import pytest

from domain.agency import FileDrop, FileFormat, Secret, SftpServer
from domain.delivery import AnswerFile, Message
from infra.channels import file_drop
from infra.channels.file_drop import FileDropChannel
from infra.channels.file_lines import BAD_MAX_BYTES
from infra.channels.folder import Folder, LocalFolder, Seen
from infra.channels.sftp import SftpFolder
from tests.infra.channels.sftp_agency import PASSWORD, USER, sftp_agency

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIRST = "recalls-20261120T120000000000Z-000001.ndjson"


@dataclass
class Drop:
    """A channel over a folder, and that folder as it is on the disk."""

    disk: Path
    channel: FileDropChannel
    folder: Folder
    troubles: list[str] = field(default_factory=list)

    def names(self, below: str = ".") -> list[str]:
        """The files of the folder, or of one below it."""
        return sorted(one.name for one in (self.disk / below).iterdir() if one.is_file())

    def leave(self, name: str, content: bytes, *, at: datetime = NOW) -> Path:
        """What an agency does: a whole file, at once."""
        file = self.disk / "answers" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (at.timestamp(), at.timestamp()))
        return file


def _message(number: int, *, padding_bytes: int = 0) -> Message:
    event = {"id": f"m-{number}", "type": "t", "data": {"account_id": "a-1", "padding": "x" * padding_bytes}}
    return Message(f"m-{number}", "p-1", "guard.recalls", b"p-1", json.dumps(event).encode())


def _drop(
    folder: Folder, disk: Path, *, now: Callable[[], datetime] = lambda: NOW, format_: str = "ndjson"
) -> Drop:
    troubles: list[str] = []
    channel = FileDropChannel(
        folder, FileDrop("", FileFormat(format_)), agency_id="north", now=now, troubled=troubles.append
    )
    return Drop(disk, channel, folder, troubles)


@pytest.fixture
def local(tmp_path: Path) -> Drop:
    """A folder on this machine."""
    return _drop(LocalFolder(str(tmp_path)), tmp_path)


@pytest.fixture(params=["local", "sftp"])
def drop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Drop]:
    """A folder here, and one on a server."""
    if request.param == "local":
        yield _drop(LocalFolder(str(tmp_path)), tmp_path)
        return
    with sftp_agency(tmp_path, paramiko.ECDSAKey.generate()) as agency:
        server = SftpServer("127.0.0.1", USER, agency.host_key, agency.port, Secret(PASSWORD.encode()))
        made = _drop(SftpFolder(server, "/"), tmp_path)
        with closing(made.channel):
            yield made


def test_a_batch_is_one_file(drop: Drop) -> None:
    """Named by instant and number, with a line for each message; the attempt says where, and what."""
    attempts = drop.channel.deliver([_message(1), _message(2)])

    lines = [_message(number).value + b"\n" for number in (1, 2)]
    assert drop.names() == [FIRST]
    assert (drop.disk / FIRST).read_bytes() == b"".join(lines)
    assert [(one.delivered, one.request) for one in attempts] == [(True, line) for line in lines]
    assert {one.target for one in attempts} == {f"{drop.folder.target}/{FIRST}"}


def test_a_csv_file_has_its_columns_once(tmp_path: Path) -> None:
    """However many messages follow; one that is no event has its attempt, and spoils no other."""
    drop = _drop(LocalFolder(str(tmp_path)), tmp_path, format_="csv")
    bad = Message("m-2", "p-2", "guard.recalls", b"", b"no event")

    attempts = drop.channel.deliver([_message(1), bad, _message(3)])

    (name,) = drop.names()
    rows = (tmp_path / name).read_text().splitlines()
    assert [row.split(",")[1] for row in rows] == ["message_id", "m-1", "m-3"]
    assert [one.delivered for one in attempts] == [True, False, True]
    assert attempts[1].detail.startswith("can't be written as csv")
    assert [one.delivered for one in drop.channel.deliver([bad])] == [False]


def test_names_sort_in_the_order_of_writing(tmp_path: Path) -> None:
    """Also where the clock was set back between two files."""
    times = [NOW, NOW - timedelta(hours=1), NOW - timedelta(hours=1), NOW + timedelta(microseconds=1)]
    drop = _drop(LocalFolder(str(tmp_path)), tmp_path, now=lambda: times.pop(0))

    names = [drop.channel.deliver([_message(number)])[0].target for number in range(4)]

    assert names == sorted(names)
    assert len(set(names)) == 4


@pytest.mark.parametrize("taken", [FIRST, f"{FIRST}.part"])
def test_no_file_is_overwritten(drop: Drop, taken: str) -> None:
    """A name that another process has, or is about to give, is left to it."""
    (drop.disk / taken).write_bytes(b"of somebody else")

    (attempt,) = drop.channel.deliver([_message(1)])

    assert attempt.delivered
    assert (drop.disk / taken).read_bytes() == b"of somebody else"
    assert drop.names() == sorted([taken, FIRST.replace("000001", "000002")])


def test_where_no_name_is_free_the_attempt_says_so(local: Drop) -> None:
    """Rather than to try for ever."""
    for number in range(file_drop.NAMES_TRIED_MAX):
        (local.disk / FIRST.replace("000001", f"{number + 1:06d}")).touch()

    (attempt,) = local.channel.deliver([_message(1)])

    assert (attempt.delivered, attempt.detail) == (
        False,
        "the folder can't be used: no free name for a file after 100",
    )


def test_two_processes_never_meet(tmp_path: Path) -> None:
    """Several channels that write at the same microsecond lose nothing."""
    drops = [_drop(LocalFolder(str(tmp_path)), tmp_path) for _ in range(4)]
    writers = [
        threading.Thread(
            target=lambda one=drop, base=number: [one.channel.deliver([_message(base * 10 + n)]) for n in range(10)]
        )
        for number, drop in enumerate(drops)
    ]
    for one in writers:
        one.start()
    for one in writers:
        one.join()

    written = [json.loads((tmp_path / name).read_bytes())["id"] for name in drops[0].names()]
    assert sorted(written) == sorted(f"m-{number}" for number in range(40))


def test_no_reader_ever_sees_half_a_file(local: Drop) -> None:
    """Whoever looks all the time finds whole files only, under their names."""
    done = threading.Event()
    halves: list[str] = []
    size_bytes = len(_message(0, padding_bytes=200_000).value) + 1

    def look() -> None:
        while not done.is_set():
            for name in local.names():
                if name.endswith(".ndjson") and (local.disk / name).stat().st_size != size_bytes:
                    halves.append(name)

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(50):
        local.channel.deliver([_message(0, padding_bytes=200_000)])
    done.set()
    reader.join()

    assert (len(local.names()), halves) == (50, [])


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """What should be mounted there is away: written beside it, nobody would read it."""
    drop = _drop(LocalFolder(str(tmp_path / "mount")), tmp_path / "mount")

    attempts = drop.channel.deliver([_message(1)])

    assert [(one.delivered, one.detail) for one in attempts] == [
        (False, f"the folder can't be used: the folder {tmp_path / 'mount'} is not there")
    ]
    assert not (tmp_path / "mount").exists()


def _answer(number: int) -> bytes:
    return json.dumps({"id": f"e-{number}"}).encode() + b"\n"


def test_answers_are_read_and_put_away(drop: Drop) -> None:
    """Oldest first; read again until they are taken, and never after."""
    drop.leave("b.ndjson", _answer(1) + _answer(2), at=NOW - timedelta(hours=1))
    drop.leave("a.csv", b"type,account_id\naccepted,a-1\n")

    first, again = list(drop.channel.answers()), list(drop.channel.answers())
    for file in again:
        drop.channel.taken(file)

    assert [(file.name, len(file.lines)) for file in first] == [("b.ndjson", 2), ("a.csv", 1)]
    assert again == first
    assert json.loads(first[1].lines[0])["source"] == "file:north"
    assert list(drop.channel.answers()) == []
    assert (drop.names("answers"), drop.names("answers/taken")) == ([], ["a.csv", "b.ndjson"])
    assert drop.troubles == []


def test_what_is_not_complete_is_not_read(local: Drop) -> None:
    """Nor what is no file of answers: hidden files, folders, links that lead elsewhere."""
    local.leave("whole.ndjson", _answer(1))
    for name in ("half.ndjson.part", ".half.ndjson", "half.part", "notes.txt", "half.ndjson~"):
        local.leave(name, _answer(2))
    (local.disk / "answers" / "folder.csv").mkdir()
    (local.disk / "answers" / "link.ndjson").symlink_to("/etc/hostname")
    os.mkfifo(local.disk / "answers" / "pipe.ndjson")

    assert list(local.channel.answers()) == [AnswerFile("whole.ndjson", (_answer(1).strip(),))]


def test_answers_that_are_a_link_are_not_read(drop: Drop) -> None:
    """They might be another agency's, whose words would then be taken for this one's."""
    other = drop.disk / "other" / "answers"
    other.mkdir(parents=True)
    (other / "a.ndjson").write_bytes(_answer(1))
    (drop.disk / "answers").symlink_to(other)

    assert list(drop.channel.answers()) == []
    assert drop.names("other/answers") == ["a.ndjson"]
    assert drop.troubles == ["the folder can't be used: answers must be a real folder, and no link"]


def test_nothing_is_put_away_through_a_link(drop: Drop) -> None:
    """Where `taken` is another agency's `answers`, what is put there would be read as that one's words."""
    other = drop.disk / "other"
    other.mkdir()
    drop.leave("a.ndjson", _answer(1))
    (drop.disk / "answers" / "taken").symlink_to(other)

    for file in drop.channel.answers():
        drop.channel.taken(file)

    assert (drop.names("answers"), drop.names("other")) == (["a.ndjson"], [])
    assert drop.troubles == ["the folder can't be used: answers/taken must be a real folder, and no link"]


def test_what_cannot_be_put_away_is_not_read_again(drop: Drop) -> None:
    """It is put away as soon as that is possible; another file of its name is another one."""
    way = drop.disk / "answers" / "taken"
    for name in ("a.ndjson", "b.ndjson"):
        drop.leave(name, _answer(1))
    way.write_bytes(b"no folder")
    first = list(drop.channel.answers())
    for file in first:
        drop.channel.taken(file)
    told = len(drop.troubles)

    again = list(drop.channel.answers())
    drop.leave("b.ndjson", _answer(22), at=NOW + timedelta(seconds=2))
    other = list(drop.channel.answers())
    way.unlink()
    for file in other:
        drop.channel.taken(file)

    assert [[file.name for file in files] for files in (first, again, other)] == [
        ["a.ndjson", "b.ndjson"],
        [],
        ["b.ndjson"],
    ]
    assert (told, len(drop.troubles)) == (2, 4)
    assert list(drop.channel.answers()) == []
    assert (drop.names("answers"), drop.names("answers/taken")) == ([], ["a.ndjson", "b.ndjson"])


def test_a_file_that_was_taken_back_is_no_error(drop: Drop) -> None:
    """Between the look and the moment of putting it away."""
    left = drop.leave("a.ndjson", _answer(1))
    (file,) = drop.channel.answers()
    left.unlink()

    drop.channel.taken(file)

    assert (drop.troubles, (drop.disk / "answers" / "taken").exists()) == ([], False)


class _TakenBack(LocalFolder):
    """A folder from which the agency takes a file back right after it was listed."""

    def files(self, path: str) -> list[Seen]:
        found = super().files(path)
        self.remove(f"{path}/{found[0].name}")
        return found


def test_a_file_that_vanishes_within_a_look_is_no_error(tmp_path: Path) -> None:
    """The others are read."""
    drop = _drop(_TakenBack(str(tmp_path)), tmp_path)
    for number in (1, 2):
        drop.leave(f"{number}.ndjson", _answer(number))

    assert (len(list(drop.channel.answers())), drop.troubles) == (1, [])


def test_a_file_that_was_replaced_is_read_again(drop: Drop) -> None:
    """What was put away would not be what was read."""
    drop.leave("a.ndjson", _answer(1))
    (file,) = drop.channel.answers()
    drop.leave("a.ndjson", _answer(22), at=NOW + timedelta(seconds=2))

    drop.channel.taken(file)

    assert [one.lines for one in drop.channel.answers()] == [(_answer(22).strip(),)]


def test_a_name_that_comes_again_is_kept_beside_the_first(drop: Drop) -> None:
    """Nothing that an agency said is overwritten."""
    for number in (1, 2):
        drop.leave("a.ndjson", _answer(number))
        for file in drop.channel.answers():
            drop.channel.taken(file)

    assert drop.names("answers/taken") == ["a.ndjson", "a.ndjson.20261120T120000000000Z"]


def test_a_file_that_is_too_large_is_one_bad_line(local: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its beginning goes to quarantine, and the file is put away for a person to read."""
    monkeypatch.setattr(file_drop, "FILE_MAX_BYTES", 300_000)
    line = b"x" * 149_999 + b"\n"
    most, more = line + line, line + line + b"x"
    local.leave("a.ndjson", most)
    local.leave("b.ndjson", more)

    files = list(local.channel.answers())

    assert [[len(line) for line in file.lines] for file in files] == [[149_999, 149_999], [BAD_MAX_BYTES]]


def test_a_look_is_bounded(local: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    """By files and by bytes; the others come with the next look."""
    for number in range(5):
        local.leave(f"{number}.ndjson", _answer(number), at=NOW + timedelta(seconds=number))

    monkeypatch.setattr(file_drop, "FILES_PER_LOOK", 3)
    by_files = [file.name for file in local.channel.answers()]
    monkeypatch.setattr(file_drop, "LOOK_MAX_BYTES", 2 * len(_answer(0)))
    by_bytes = [file.name for file in local.channel.answers()]

    assert (by_files, by_bytes) == (["0.ndjson", "1.ndjson", "2.ndjson"], ["0.ndjson", "1.ndjson"])


def test_a_folder_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    """A look raises nothing, and is not silent either."""
    drop = _drop(LocalFolder(str(tmp_path / "mount")), tmp_path)

    assert list(drop.channel.answers()) == []
    drop.channel.taken(AnswerFile("a.ndjson", ()))

    assert len(drop.troubles) == 2
    assert all(one.startswith("the folder can't be used") for one in drop.troubles)


def test_what_is_written_is_for_owner_and_group(local: Drop) -> None:
    """It names debts and accounts."""
    local.channel.deliver([_message(1)])

    assert oct((local.disk / FIRST).stat().st_mode & 0o777) in {"0o640", "0o600"}
