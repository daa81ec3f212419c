"""One writer a folder, whoever dies."""

import errno
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from priorbench import lock
from priorbench.errors import PriorbenchError
from priorbench.lock import NAME, WAITING, Lease, describe, holder_of
from priorbench.stop import Interrupted, Stop


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.05)
    monkeypatch.setattr(lock, "STALE", 0.6)


def foreign(folder: Path, **changes: object) -> Path:
    """A lease of a process on another machine."""
    content = {"host": "elsewhere", "pid": 4711, "job": "17", "token": "theirs", **changes}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(json.dumps(content))
    return folder / NAME


def test_a_folder_is_free_again_after_use(tmp_path: Path) -> None:
    for _ in range(2):
        with Lease(tmp_path / "run"):
            assert (holder_of(tmp_path / "run") or {})["pid"] == os.getpid()
        assert list((tmp_path / "run").iterdir()) == []


def test_a_second_writer_leaves_with_a_line_that_names_the_first(tmp_path: Path) -> None:
    with Lease(tmp_path), pytest.raises(PriorbenchError) as caught, Lease(tmp_path, patience=1.2):
        pass  # longer than a lease lasts that nobody beats
    message = str(caught.value)
    assert f"process {os.getpid()} on {socket.gethostname()} is writing there" in message
    assert "\n" not in message


def test_a_job_of_a_cluster_waits_until_it_is_asked_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    stop = Stop()
    threading.Timer(1.0, lambda: stop._note(signal.SIGTERM, None)).start()
    with Lease(tmp_path) as first:
        assert not first.wanted()
        with pytest.raises(Interrupted, match="is writing there; run the same command"), Lease(tmp_path, stop=stop):
            pass
        assert not first.wanted()


def test_a_holder_knows_that_somebody_waits(tmp_path: Path) -> None:
    with Lease(tmp_path) as first:
        second = threading.Thread(target=lambda: Lease(tmp_path, patience=20).__enter__().__exit__(None, None, None))
        second.start()
        while not first.wanted():
            time.sleep(0.01)
    second.join()
    assert list(tmp_path.iterdir()) == []


def dead_process() -> int:
    """The number of a process that has ended."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_who_was_killed_while_it_waited_waits_no_more(tmp_path: Path) -> None:
    """Its mark made the holder keep a checkpoint that nobody came for."""
    with Lease(tmp_path) as first:
        (tmp_path / f"{WAITING}-0123-{dead_process()}@{lock._space()}@{socket.gethostname()}").touch()
        assert not first.wanted()
        (tmp_path / f"{WAITING}-0123-4711@1@elsewhere").touch()
        assert first.wanted()
        time.sleep(0.7)  # longer than a lease lasts that nobody beats
        assert not first.wanted()
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_by_who_was_killed_while_it_took_a_lease_over_is_removed(tmp_path: Path) -> None:
    """Killed between the removal of a dead lease and the end of it."""
    (tmp_path / f"{NAME}-0123-{dead_process()}@{lock._space()}@{socket.gethostname()}").write_text("{}")
    kept = tmp_path / f"{NAME}-0123-{os.getpid()}@{lock._space()}@{socket.gethostname()}"  # of one that does so now
    kept.write_text("{}")
    with Lease(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([NAME, kept.name])


def test_a_lease_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a lease names no process that could be found dead, so that it was waited for."""
    seen, link = [], os.link

    def watched(source: Path, target: Path) -> None:
        seen.append((target.exists(), json.loads(source.read_text())["pid"]))
        link(source, target)

    monkeypatch.setattr(os, "link", watched)
    with Lease(tmp_path):
        pass
    assert seen == [(False, os.getpid())]


def test_a_process_of_another_container_is_not_taken_for_dead(tmp_path: Path) -> None:
    """It may have the same name of the machine and a number that is nobody's here."""
    foreign(tmp_path, host=socket.gethostname(), pid=dead_process(), space=1)
    with pytest.raises(PriorbenchError, match="is writing there"), Lease(tmp_path, patience=0.2):
        pass


def test_a_link_that_was_made_and_said_to_exist_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a server says that is asked twice because its first answer was lost."""
    link = os.link

    def twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    with Lease(tmp_path, patience=0.1) as own:
        assert own.held()


def test_who_slept_while_it_took_a_lease_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, taken = os.link, []

    def swept(source: Path, target: Path) -> None:
        if not taken:
            taken.append(source)
            source.unlink()
        link(source, target)

    monkeypatch.setattr(os, "link", swept)
    with Lease(tmp_path) as own:
        assert own.held()
    assert len(taken) == 1


def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    with Lease(tmp_path) as own:
        assert own.held()
        with pytest.raises(PriorbenchError, match="is writing there"), Lease(tmp_path, patience=0.1):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_waits_for_the_first_to_end(tmp_path: Path) -> None:
    first = Lease(tmp_path)
    first.__enter__()
    threading.Timer(0.3, lambda: first.__exit__(None, None, None)).start()
    with Lease(tmp_path, patience=10) as second:
        assert second.held()


def test_the_lease_of_a_dead_process_on_this_machine_is_taken_at_once(tmp_path: Path) -> None:
    foreign(tmp_path, host=socket.gethostname(), pid=dead_process(), space=lock._space())
    started = time.monotonic()
    with Lease(tmp_path) as own:
        assert own.held()
    assert time.monotonic() - started < 0.5


def test_the_lease_of_a_dead_node_is_taken_when_it_is_no_longer_beaten(tmp_path: Path) -> None:
    foreign(tmp_path)
    started = time.monotonic()
    with Lease(tmp_path) as own:
        assert own.held()
    assert time.monotonic() - started >= 0.6


def test_a_lease_that_is_beaten_is_respected_whatever_the_clocks_say(tmp_path: Path) -> None:
    path, ended = foreign(tmp_path), threading.Event()

    def beat() -> None:
        for count in range(100):
            os.utime(path, (count, count))  # 1970: a clock far behind
            if ended.wait(0.1):
                break

    beating = threading.Thread(target=beat)
    beating.start()
    with pytest.raises(PriorbenchError, match="SLURM job 17, process 4711 on elsewhere is writing"), Lease(tmp_path, 2):
        pass
    ended.set()
    beating.join()
    assert path.exists()


def test_half_a_lease_is_waited_for_and_then_taken(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"host": "el')
    with Lease(tmp_path) as own:
        assert own.held()


def test_who_lost_the_lease_notices_and_leaves_the_new_one_alone(tmp_path: Path) -> None:
    with Lease(tmp_path) as slow:
        slow.check()
        foreign(tmp_path)
        with pytest.raises(PriorbenchError, match="SLURM job 17, process 4711 on elsewhere took over"):
            slow.check()
    assert (holder_of(tmp_path) or {})["token"] == "theirs"


def test_of_many_who_wait_for_a_dead_node_one_at_a_time_gets_in(tmp_path: Path) -> None:
    foreign(tmp_path)
    inside, most, failures = [0], [0], []

    def work() -> None:
        try:
            with Lease(tmp_path, patience=30):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.02)
                inside[0] -= 1
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (most[0], failures) == (1, [])


def test_describe_knows_little_of_a_damaged_lease() -> None:
    assert describe({}) == "another process"
    assert describe(None) == "another process"
