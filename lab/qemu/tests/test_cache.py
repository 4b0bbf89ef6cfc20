"""The cache: built once, bounded, swept, and clear about a full disk."""

import errno
import multiprocessing
import os
import time

import pytest

from lab.qemu.cache import KERNELS, Cache, content_key, disk_usage, try_lock
from lab.qemu.errors import BedError


def build_slowly(root, marks, number):
    def build(target):
        (marks / f"{number}-{time.monotonic_ns()}").touch()
        time.sleep(0.3)
        target.mkdir()
        (target / "file").write_text("whole")

    path, lock, _ = Cache(root).obtain("templates", "key", build)
    assert (path / "file").read_text() == "whole"
    lock.release()


def test_two_processes_build_once(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=build_slowly, args=(tmp_path / "c", marks, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(list(marks.iterdir())) == 1


def add(cache, name, age, size=1 << 20):
    def build(target):
        target.mkdir()
        (target / "data").write_bytes(os.urandom(size))

    path, lock, built = cache.obtain("templates", name, build)
    assert built
    os.utime(path, (time.time() - age, time.time() - age))
    return path, lock


def test_least_recently_used_goes_first(tmp_path):
    cache = Cache(tmp_path, limit=5 << 19)
    old, middle, new = (add(cache, name, age) for name, age in (("old", 300), ("middle", 200), ("new", 100)))
    for _, lock in (old, middle, new):
        lock.release()
    assert cache.evict() == [old[0]]
    assert middle[0].exists() and new[0].exists()
    assert disk_usage(tmp_path / "templates") <= 5 << 19


def test_what_is_held_stays(tmp_path):
    cache = Cache(tmp_path, limit=0)
    held, lock = add(cache, "held", 300)
    free, other = add(cache, "free", 100)
    other.release()
    assert cache.evict() == [free]
    assert held.exists()
    lock.release()
    assert cache.evict() == [held]
    assert cache.hold("templates", "held") is None


def test_a_kernel_stays_until_it_is_removed(tmp_path):
    cache = Cache(tmp_path, limit=0)
    path, lock, _ = cache.obtain(KERNELS, "debug", lambda target: target.mkdir())
    assert not cache.remove(path) and path.exists()
    lock.release()
    assert cache.evict() == [] and path.exists()
    assert cache.remove(path) and not path.exists()


def test_use_makes_young(tmp_path):
    cache = Cache(tmp_path)
    path, lock = add(cache, "x", 1000)
    cache.hold("templates", "x").release()
    assert time.time() - path.stat().st_mtime < 60
    lock.release()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space"), RuntimeError("other"), KeyboardInterrupt()])
def test_failed_build_leaves_nothing(tmp_path, error):
    cache = Cache(tmp_path)

    def build(target):
        target.mkdir()
        raise error

    with pytest.raises((BedError, RuntimeError, KeyboardInterrupt)) as caught:
        cache.obtain("templates", "x", build)
    assert not list((tmp_path / "tmp").iterdir())
    assert not list((tmp_path / "templates").iterdir())
    if isinstance(error, OSError):
        assert "no space left" in str(caught.value) and "XDG_CACHE_HOME" in caught.value.hint
    add(cache, "x", 0)[1].release()  # and nothing stays locked


def test_sweep_takes_only_what_nobody_holds(tmp_path):
    cache = Cache(tmp_path)
    stale = tmp_path / "tmp" / "instance-dead"
    stale.mkdir()
    with cache.temporary("instance") as mine:
        cache.sweep()
        assert stale.exists()  # too young: its owner may be about to lock it
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lab.qemu.cache.time_since_change", lambda _: 100.0)
            cache.sweep()
        assert mine.exists() and not stale.exists()


def test_directory_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BedError) as error:
        Cache(tmp_path / "file" / "cache")
    assert "XDG_CACHE_HOME" in error.value.hint


def test_lock_ends_with_release(tmp_path):
    lock = try_lock(tmp_path / "l")
    assert try_lock(tmp_path / "l") is None
    lock.release()
    assert try_lock(tmp_path / "l") is not None


def test_key_depends_on_content_only():
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})
