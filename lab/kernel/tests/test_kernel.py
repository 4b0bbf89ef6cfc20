from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import Stop
from lab.kernel import DriverBuildError, build_driver, stock_driver_source
from lab.kernel import build as build_module
from lab.kernel.build import first_error
from lab.kernel.headers import _make_movable, own_headers
from lab.kernel.source import BUFFERS, DRIVER, HEADERS, find_source
from lab.qemu.binaries import ModuleInfo, module_info
from lab.qemu.cache import Cache
from lab.qemu.errors import BedError
from lab.qemu.packages import PackageStore


@pytest.fixture(scope="session")
def source() -> Path:
    try:
        return stock_driver_source()
    except BedError as error:
        pytest.skip(f"Debian's driver source is not to be had: {error.message}")


@pytest.fixture
def copy(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "tree"))


def info(module: Path) -> ModuleInfo:
    return module_info(module.read_bytes(), module.name)


# ------------------------------------------------------------------ what is found in a folder


def test_the_source_that_debian_ships_is_whole_and_small(source: Path) -> None:
    found = find_source(source)
    assert len([place for place in found.files if place.parent == DRIVER and place.suffix == ".c"]) == 6
    assert {BUFFERS, *HEADERS} <= set(found.files)
    assert sum(path.stat().st_size for path in source.rglob("*") if path.is_file()) < 1 << 20


def test_the_drivers_own_folder_brings_nothing_from_around_it(source: Path) -> None:
    found = find_source(source / DRIVER)
    assert {place.parent for place in found.files} == {DRIVER}
    assert not found.with_buffers


def a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("x")
    return tmp_path / "file"


def a_folder_without_driver(tmp_path: Path) -> Path:
    (tmp_path / "some.c").write_text("x")
    return tmp_path


def a_dangling_link(tmp_path: Path) -> Path:
    (tmp_path / "xen_drm_front.c").write_text("x")
    (tmp_path / "Makefile").write_text("x")
    (tmp_path / "xen_drm_front.h").symlink_to("nowhere")
    return tmp_path


def a_folder_that_stands_for_a_file(tmp_path: Path) -> Path:
    (tmp_path / "xen_drm_front.c").mkdir()
    (tmp_path / "Makefile").write_text("x")
    return tmp_path


def no_makefile(tmp_path: Path) -> Path:
    (tmp_path / "xen_drm_front.c").write_text("x")
    return tmp_path


@pytest.mark.parametrize(("make", "words"), [
    (lambda tmp: tmp / "none", "cannot be read: No such file or directory"),
    (a_file, "cannot be read: Not a directory"),
    (a_folder_without_driver, "holds no display frontend: xen_drm_front.c is neither in it nor in drivers/gpu/drm/xen"),
    (a_dangling_link, "xen_drm_front.h cannot be read: No such file"),
    (a_folder_that_stands_for_a_file, "xen_drm_front.c cannot be read: Is a directory"),
    (no_makefile, "has no Makefile"),
])
def test_an_unreadable_source_is_one_clear_message(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(DriverBuildError) as raised:
        find_source(make(tmp_path))
    assert words in raised.value.message
    assert "name a kernel tree" in raised.value.hint
    assert raised.value.status == 2
    assert "\n" not in raised.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_source_without_permission_is_one_clear_message(copy: Path) -> None:
    (copy / DRIVER).chmod(0)
    with pytest.raises(DriverBuildError, match="Permission denied"):
        find_source(copy)


# ------------------------------------------------------------------ builds


def test_a_tree_becomes_both_modules_for_the_guests_kernel(source: Path) -> None:
    modules = build_driver(source)
    assert [info(module).name for module in modules] == ["xen_front_pgdir_shbuf", "drm_xen_front"]
    wanted, _ = PackageStore(Cache(), "amd64", lambda *_: None).standard()
    for module in modules:
        assert info(module).vermagic.split()[0] == wanted.kernel.removeprefix("linux-image-")
        assert "modversions" in info(module).vermagic
        assert b".note.gnu.build-id" in module.read_bytes()


def test_what_did_not_change_is_not_built_again(source: Path) -> None:
    first = build_driver(source)
    stamps = [module.stat().st_mtime_ns for module in first]
    phases: list[str] = []
    started = time.monotonic()
    second = build_driver(source, lambda phase, _: phases.append(phase))
    assert (second, phases) == (first, [])
    assert [module.stat().st_mtime_ns for module in second] == stamps
    assert time.monotonic() - started < 2


def test_a_change_in_the_driver_is_built_and_the_given_tree_left_alone(copy: Path) -> None:
    main = copy / DRIVER / "xen_drm_front.c"
    main.write_text(main.read_text().replace("20180221", "20990101"))
    before = sorted(path.relative_to(copy) for path in copy.rglob("*"))
    (module,) = build_driver(copy / DRIVER)
    assert b"20990101" in module.read_bytes()
    assert sorted(path.relative_to(copy) for path in copy.rglob("*")) == before


def test_a_trees_own_protocol_header_is_used(copy: Path) -> None:
    header = copy / HEADERS[0]
    text = header.read_text().replace('"vdispl"', '"vother"')
    assert text != header.read_text()
    header.write_text(text)
    (copy / BUFFERS).unlink()
    (module,) = build_driver(copy)
    assert b"xen:vother" in module.read_bytes()


def test_a_tree_of_another_kernel_is_one_message_that_points_to_the_kernel_option(copy: Path) -> None:
    header = copy / DRIVER / "xen_drm_front.h"
    header.write_text(header.read_text().replace("drm/drm_connector.h", "drm/drm_of_another_kernel.h"))
    with pytest.raises(DriverBuildError) as raised:
        build_driver(copy / DRIVER)
    assert "does not build against the headers of the guest's kernel" in raised.value.message
    assert "drm/drm_of_another_kernel.h: No such file" in raised.value.message
    assert "\n" not in raised.value.message
    assert "--kernel IMAGE --modules DIR" in raised.value.hint
    log = Path(raised.value.hint.rpartition("the log: ")[2].rstrip(")"))
    assert "drm_of_another_kernel.h" in log.read_text()


def test_a_symbol_that_the_kernel_lacks_is_named(copy: Path) -> None:
    main = copy / DRIVER / "xen_drm_front.c"
    main.write_text(main.read_text() + "\nextern int of_another_kernel(void);\nint more(void);\n"
                    "int more(void)\n{\n\treturn of_another_kernel();\n}\n")
    with pytest.raises(DriverBuildError, match="of_another_kernel.* undefined"):
        build_driver(copy / DRIVER)


def test_the_callers_environment_does_not_reach_the_build(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ARCH", "KCFLAGS", "CROSS_COMPILE", "MAKEFLAGS", "KBUILD_EXTMOD"):
        monkeypatch.setenv(name, "--nonsense")
    main = copy / DRIVER / "xen_drm_front.c"
    main.write_text(main.read_text() + "/* not built before */\n")
    assert len(build_driver(copy / DRIVER)) == 1


def test_a_missing_compiler_is_infrastructure(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module.shutil, "which", lambda program: None)
    with pytest.raises(Stop) as raised:
        build_driver(source)
    assert (raised.value.status, raised.value.hint) == (3, "sudo apt-get install make")


# ------------------------------------------------------------------ small parts


@pytest.mark.parametrize(("log", "line"), [
    ("  CC x.o\n/t/driver/a.c:3:1: error: no\n/t/driver/b.c:9:9: error: later\n", "a.c:3:1: error: no"),
    ('ERROR: modpost: "f" [/t/driver/m.ko] undefined!\n', '"f" [m.ko] undefined!'),
    ("make[1]: *** [x] Error 2\n", "make[1]: *** [x] Error 2"),
    ("strange\n\n", "strange"),
    ("", "the build said nothing"),
])
def test_the_first_error_of_a_log(log: str, line: str) -> None:
    assert first_error(log, Path("/t")) == line


def test_the_headers_makefile_must_be_one_that_can_be_moved(tmp_path: Path) -> None:
    folder = tmp_path / "usr" / "src" / "linux-headers-9"
    folder.mkdir(parents=True)
    makefile = folder / "Makefile"
    makefile.write_text("include /usr/src/linux-headers-9-common/Makefile\n")
    _make_movable(tmp_path, "9")
    assert makefile.read_text() == "include $(dir $(lastword $(MAKEFILE_LIST)))../linux-headers-9-common/Makefile\n"
    makefile.write_text("X = /usr/src/elsewhere\n")
    with pytest.raises(BedError, match="names installed files"):
        _make_movable(tmp_path, "9")


def own_kernel(tmp_path: Path) -> Path:
    modules = tmp_path / "lib" / "modules" / "6.6.6-own"
    (modules / "kernel").mkdir(parents=True)
    (modules / "kernel" / "drm.ko").write_bytes(b"")
    return modules


def test_a_kernel_handed_in_without_its_build_tree(tmp_path: Path) -> None:
    own_kernel(tmp_path)
    with pytest.raises(DriverBuildError, match="6.6.6-own has no `build` folder") as raised:
        own_headers(tmp_path)
    assert "--module FILE.ko" in raised.value.hint


def test_a_kernel_handed_in_with_its_build_tree(tmp_path: Path) -> None:
    build = own_kernel(tmp_path) / "build"
    build.mkdir()
    for name in ("Makefile", "Module.symvers"):
        (build / name).write_text("")
    headers = own_headers(tmp_path)
    assert (headers.folder, headers.release, headers.compiler()) == (build, "6.6.6-own", "gcc")
