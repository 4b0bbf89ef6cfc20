"""What is read out of kernels, modules and programs."""

import gzip
import lzma
import re
import subprocess
from pathlib import Path

import pytest

from lab.qemu.binaries import ModuleTree, build_id, decompress, module_info, needed_libraries
from lab.qemu.binaries import unpack_vmlinux, unpack_xen
from lab.qemu.errors import BedError
from lab.qemu.template import choose_driver, same_build_id


def module(name: str, depends: str = "", vermagic: str = "6.1.0-56-amd64 SMP") -> bytes:
    fields = [f"depends={depends}", f"name={name}", f"vermagic={vermagic} "]
    return b"\x7fELF\0" + b"\0".join(field.encode() for field in fields) + b"\0"


def tree(root: Path, builtin: str = "", **modules: str) -> ModuleTree:
    directory = root / "lib" / "modules" / "6.1.0-test"
    (directory / "kernel" / "drivers").mkdir(parents=True)
    (directory / "modules.builtin").write_text(builtin)
    for name, depends in modules.items():
        path = directory / "kernel" / "drivers" / f"{name.replace('_', '-')}.ko.xz"
        path.write_bytes(lzma.compress(module(name, depends)))
    return ModuleTree.find(root)


DRIVER = {
    "drm": "",
    "drm_kms_helper": "drm",
    "xen_front_pgdir_shbuf": "",
    "drm_xen_front": "drm_kms_helper,drm,xen-front-pgdir-shbuf",
}


def test_module_info():
    info = module_info(module("drm_xen_front", "drm,xen-front-pgdir-shbuf"), "x.ko")
    assert (info.name, info.depends) == ("drm_xen_front", ("drm", "xen-front-pgdir-shbuf"))
    assert info.vermagic.split()[0] == "6.1.0-56-amd64"


@pytest.mark.parametrize("data", [b"", b"text", b"\x7fELF\0name=x\0"])
def test_no_module(data):
    with pytest.raises(BedError) as error:
        module_info(data, "/some/file.ko")
    assert "/some/file.ko is no kernel module" in error.value.message


def test_load_order(tmp_path):
    modules = tree(tmp_path, "kernel/lib/base.ko\n", a="b,c", b="c,base", c="")
    assert modules.load_order(["a"]) == ["c", "b", "a"]
    assert modules.load_order(["base"]) == []
    assert modules.load_order(["absent"], optional=True) == []
    assert modules.release == "6.1.0-test"
    with pytest.raises(BedError) as error:
        modules.load_order(["absent"])
    assert "has no module absent" in error.value.message


def test_tree_is_found_or_refused(tmp_path):
    assert tree(tmp_path, a="").has("a")
    with pytest.raises(BedError):
        ModuleTree.find(tmp_path / "lib" / "modules" / "6.1.0-test" / "kernel" / "drivers")


def test_stock_driver(tmp_path):
    chosen = choose_driver([], tree(tmp_path, **DRIVER))
    assert [(m.name, m.file) for m in chosen] == [("xen_front_pgdir_shbuf", None), ("drm_xen_front", None)]
    assert chosen[1].guest_path == "/lib/modules/drm_xen_front.ko"


def test_module_handed_in_replaces_its_namesake(tmp_path):
    mine = tmp_path / "drm-xen-front.ko"
    mine.write_bytes(module("drm_xen_front", "drm,xen-front-pgdir-shbuf"))
    chosen = choose_driver([mine], tree(tmp_path, **DRIVER))
    assert [(m.name, m.file) for m in chosen] == [("xen_front_pgdir_shbuf", None), ("drm_xen_front", mine)]


def test_both_modules_in_any_order(tmp_path):
    paths = []
    for name, depends in (("drm_xen_front", "drm,xen-front-pgdir-shbuf"), ("xen_front_pgdir_shbuf", "")):
        paths.append(tmp_path / f"{name}.ko")
        paths[-1].write_bytes(module(name, depends))
    chosen = choose_driver(paths, tree(tmp_path, **DRIVER))
    assert [m.file for m in chosen] == [paths[1], paths[0]]


def test_driver_of_another_name_comes_alone(tmp_path):
    other = tmp_path / "other.ko"
    other.write_bytes(module("other_front", "drm,xen-front-pgdir-shbuf"))
    chosen = choose_driver([other], tree(tmp_path, **DRIVER))
    assert [m.name for m in chosen] == ["xen_front_pgdir_shbuf", "other_front"]


def test_kernel_without_driver(tmp_path):
    with pytest.raises(BedError) as error:
        choose_driver([], tree(tmp_path, drm=""))
    assert "--module" in error.value.hint


def test_built_in_driver_needs_no_module(tmp_path):
    assert choose_driver([], tree(tmp_path, "kernel/drm_xen_front.ko\n", drm="")) == []


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, lambda data: data])
def test_decompress(pack):
    assert decompress(pack(b"\x7fELF contents"), "x") == b"\x7fELF contents"


def test_damaged_file_is_told():
    with pytest.raises(BedError) as error:
        decompress(gzip.compress(b"x" * 1000)[:-20], "/boot/xen.gz")
    assert "/boot/xen.gz cannot be unpacked" in error.value.message


def bzimage(payload: bytes) -> bytes:
    header = bytearray(1024)
    header[0x1F1] = 1
    header[0x202:0x206] = b"HdrS"
    header[0x248:0x24C] = (16).to_bytes(4, "little")
    header[0x24C:0x250] = len(payload).to_bytes(4, "little")
    return bytes(header) + b"\xcc" * 16 + payload + b"after the payload"


def test_vmlinux_out_of_a_bzimage(tmp_path):
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(lzma.compress(b"\x7fELF kernel") + b"size"))
    assert unpack_vmlinux(image) == b"\x7fELF kernel"
    image.write_bytes(b"\x7fELF already")
    assert unpack_vmlinux(image) == b"\x7fELF already"


@pytest.mark.parametrize("unpack", [unpack_vmlinux, unpack_xen])
def test_wrong_images(tmp_path, unpack):
    image = tmp_path / "image"
    image.write_bytes(b"MZ something else" * 100)
    with pytest.raises(BedError):
        unpack(image)
    with pytest.raises(BedError) as error:
        unpack(tmp_path / "absent")
    assert "cannot be read" in error.value.message


def test_program_facts():
    program = Path("/usr/bin/readelf").resolve()
    other = Path("/usr/bin/env").resolve()
    for needs in (needed_libraries([program])[program], needed_libraries([other, program])[program]):
        assert "libc.so.6" in needs
        assert any(name.startswith("ld-linux") for name in needs)
    shown = subprocess.run(["readelf", "-n", program], capture_output=True, text=True).stdout
    assert build_id(program) == re.search(r"Build ID: (\w+)", shown).group(1)


def test_build_ids_as_linux_shows_them():
    assert same_build_id("0a0b", "0a0b")
    assert same_build_id("0a", "0a000b")
    assert not same_build_id("0a", "0a0b")
    assert not same_build_id("", "0a0b")


def test_modules_handed_in_come_before_the_kernels_own(tmp_path: Path) -> None:
    own = tree(tmp_path, **DRIVER)
    other, more = tmp_path / "drm-xen-front.ko", tmp_path / "extra.ko"
    other.write_bytes(module("drm_xen_front", "extra"))
    more.write_bytes(module("extra", "drm"))
    both = own.overlaid((other, more))
    assert both.load_order(["drm_xen_front"]) == ["drm", "extra", "drm_xen_front"] and both.path("drm_xen_front") == other
    assert own.path("drm_xen_front") != other and not own.has("extra") and own.overlaid(()) is own
