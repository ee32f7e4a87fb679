"""Downloads from a real server on this machine."""

import shutil
from collections.abc import Iterator

import pytest

from cifarnet.data.download import fetch
from cifarnet.errors import DataError, DownloadError
from tests.support.serving import CONTENT, CUT, NAME, Server, running


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as server:
        yield server


def visible(folder):
    """The files in ``folder``, but for the lock."""
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def test_a_file_is_downloaded_with_progress(server, tmp_path):
    reports = []
    path = fetch(server.file("good"), tmp_path / "cache", report=lambda *progress: reports.append(progress))
    assert path == tmp_path / "cache" / NAME
    assert path.read_bytes() == CONTENT
    assert reports[-1] == (f"Downloading {NAME}", len(CONTENT), len(CONTENT))
    assert len(reports) > 5
    assert visible(path.parent) == [NAME]


def test_a_file_that_is_there_and_intact_is_not_downloaded_again(server, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT)
    assert fetch(server.file("good"), tmp_path).read_bytes() == CONTENT
    assert server.requests == []


def test_a_file_that_is_there_and_damaged_is_replaced(server, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT[:-1] + b"?")
    assert fetch(server.file("good"), tmp_path).read_bytes() == CONTENT


def test_a_cut_download_goes_on_where_it_was_cut(server, tmp_path):
    assert fetch(server.file("cut"), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, *(f"bytes={turn * CUT}-" for turn in (1, 2, 3))]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(server, tmp_path):
    with pytest.raises(DownloadError, match="503"):
        fetch(server.file("cut_once"), tmp_path)
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:CUT]
    assert fetch(server.file("good"), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == (f"/good/{NAME}", f"bytes={CUT}-")
    assert visible(tmp_path) == [NAME]


def test_another_mirror_goes_on_with_what_the_first_one_gave(server, tmp_path):
    assert fetch(server.file("good"), tmp_path, mirrors=[server.url("cut_once")]).read_bytes() == CONTENT
    assert server.requests[-1] == (f"/good/{NAME}", f"bytes={CUT}-")


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    assert fetch(server.file("without_range"), tmp_path).read_bytes() == CONTENT


def test_a_server_sends_another_range_is_refused_and_part_kept(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match="sent another range"):
        fetch(server.file("wrong_range"), tmp_path)
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:1000]


def test_a_complete_part_is_checked_and_used(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    assert fetch(server.file("missing"), tmp_path).read_bytes() == CONTENT


def test_part_proves_wrong_is_deleted_so_next_try_starts_afresh(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(bytes(1000))
    with pytest.raises(DownloadError, match="sent a file with another SHA-256"):
        fetch(server.file("good"), tmp_path)
    assert visible(tmp_path) == []
    assert fetch(server.file("good"), tmp_path).read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT + b"more")
    assert fetch(server.file("good"), tmp_path).read_bytes() == CONTENT


def test_mirrors_are_tried_before_the_official_address(server, tmp_path, monkeypatch):
    monkeypatch.setenv("CIFARNET_MIRROR", f"{server.url('web_page')}, {server.url('altered')}")
    mirrors = [server.url("missing"), server.url("too_short")]
    assert fetch(server.file("good"), tmp_path, mirrors=mirrors).read_bytes() == CONTENT
    assert [path.split("/")[1] for path, _ in server.requests] == [
        "missing",
        "too_short",
        "web_page",
        "altered",
        "good",
    ]


def test_a_mirror_may_be_a_directory(server, tmp_path):
    fetch(server.file("missing"), tmp_path, mirrors=[server.url("good").removesuffix(NAME)])
    assert server.requests == [(f"/good/{NAME}", None)]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("missing", "404 Not Found"),
        ("altered", "sent a file with another SHA-256"),
        ("web_page", "answered with a web page"),
        ("too_short", "offers 2,999,999 bytes instead of 3,000,000"),
        ("endless", "sent 3,[0-9,]+ bytes instead of 3,000,000"),
        ("too_short_without_length", "sent 10 bytes instead of 3,000,000"),
    ],
)
def test_wrong_answer_is_refused_with_reason_and_leaves_nothing(server, tmp_path, behaviour, reason):
    with pytest.raises(DownloadError, match=f"{server.url(behaviour)}: .*{reason}"):
        fetch(server.file(behaviour), tmp_path)
    assert [path for path in tmp_path.iterdir() if path.stat().st_size] == []


def test_a_server_that_does_not_answer_is_given_up(server, tmp_path):
    with pytest.raises(DownloadError, match="no answer in time"):
        fetch(server.file("silent"), tmp_path, timeout=(0.2, 0.2))


def test_without_a_connection_the_message_says_file_to_put_where(tmp_path):
    with running(Server()) as gone:
        file = gone.file("good")
    with pytest.raises(DownloadError) as caught:
        fetch(file, tmp_path / "cache")
    message = str(caught.value)
    assert "no connection" in message
    for fact in (file.name, file.url, "3,000,000 bytes", file.sha256, str(tmp_path / "cache" / NAME), "`mirrors`"):
        assert fact in message


@pytest.mark.parametrize("mirror", ["nonsense", "ftp://example.org/x", "http://"])
def test_a_mirror_that_is_no_web_address_is_passed_over(server, tmp_path, mirror):
    assert fetch(server.file("good"), tmp_path, mirrors=[mirror]).read_bytes() == CONTENT


def test_a_folder_deleted_during_the_download_is_named(server, tmp_path):
    folder = tmp_path / "cache"

    def report(activity, done, total):
        shutil.rmtree(folder, ignore_errors=True)

    with pytest.raises(DataError, match=r"cache can't be written to \(No such file"):
        fetch(server.file("good"), folder, report=report)
    assert fetch(server.file("good"), folder).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_to_is_named(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file.cache can't be written to .*CIFARNET_CACHE"):
        fetch(server.file("good"), tmp_path / "file" / "cache")
