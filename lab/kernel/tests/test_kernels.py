"""The kernels of the suite's own: what their fragments say, and (full) that the kernel that comes of them is so."""
from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import Stop
from lab.kernel import build_driver, stock_driver_source
from lab.kernel.kernels import FRAGMENTS, RECIPES, Edit, KernelBuildError, apply_edit, build_kernel, fragment_text, settings, unmet
from lab.qemu.binaries import ModuleTree, module_info
from lab.qemu.images import GUEST_MODULES

ALL = [(name, arch) for name, recipe in RECIPES.items() for arch in recipe.fragments]


@pytest.mark.parametrize(("name", "arch"), ALL)
def test_no_option_stands_twice(name: str, arch: str) -> None:
    options = [line.split("=")[0] for line in fragment_text(RECIPES[name], arch, name).splitlines() if line.startswith("CONFIG_")]
    assert len(options) == len(set(options)) > 50


def test_every_fragment_is_used() -> None:
    used = {arch if part == "ARCH" else part for recipe in RECIPES.values() for arch, parts in recipe.fragments.items() for part in parts}
    assert {file.stem for file in FRAGMENTS.glob("*.config")} == used


def test_every_line_is_an_option_or_a_comment() -> None:
    for file in FRAGMENTS.glob("*.config"):
        for line in file.read_text().splitlines():
            assert line.startswith("# ") or (line.startswith("CONFIG_") and line.split("=")[1] in ("y", "m", "n") or "_SIZE=" in line), line


def test_a_comment_makes_no_other_kernel() -> None:
    assert settings("# why\nCONFIG_A=y\n# CONFIG_B is not set\n") == ["CONFIG_A=y", "# CONFIG_B is not set"]


def test_the_debug_kernel_has_what_it_is_for() -> None:
    text = fragment_text(RECIPES["debug-guest"], "amd64", "debug-guest")
    for option in ("PROVE_LOCKING", "UBSAN", "DEBUG_LIST", "DEBUG_KMEMLEAK", "FAILSLAB", "FAIL_PAGE_ALLOC", "DEBUG_ATOMIC_SLEEP"):
        assert f"\nCONFIG_{option}=y\n" in text


def test_kasan_is_not_for_pv_guests() -> None:
    text = fragment_text(RECIPES["kasan-guest"], "arm64", "kasan-guest")
    assert "\nCONFIG_KASAN=y\n" in text and "CONFIG_XEN_PV=y" not in text
    assert set(RECIPES["kasan-guest"].fragments) == {"arm64"}


def test_what_the_kernels_rules_took_away_is_named() -> None:
    config = 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_D=m\nCONFIG_N="-x"\n'
    assert unmet('CONFIG_A=y\nCONFIG_N="-x"\nCONFIG_E=n\n# CONFIG_F=y\n', config) == []
    assert unmet("CONFIG_A=n\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D=y\n", config) == ["CONFIG_A=n", "CONFIG_B=y", "CONFIG_C=m", "CONFIG_D=y"]


def test_an_edit_is_made_once_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.c"
    edit = Edit("a.c", "one;\n", "two;\n", "docs/findings/page.md")
    file.write_text("zero;\none;\nthree;\n")
    apply_edit(edit, tmp_path)
    assert file.read_text() == "zero;\none;\ntwo;\nthree;\n"
    for text in ("zero;\n", "one;\none;\n"):
        file.write_text(text)
        with pytest.raises(KernelBuildError, match="a.c has changed"):
            apply_edit(edit, tmp_path)


def test_a_kernel_for_another_architecture_is_refused() -> None:
    with pytest.raises(Stop, match="the kernel debug-guest is for amd64, not for arm64"):
        build_kernel("debug-guest", "arm64")


@pytest.mark.full
@pytest.mark.parametrize(("name", "arch"), ALL)
def test_the_kernel_is_what_its_fragments_say(name: str, arch: str) -> None:
    kernel = build_kernel(name, arch)
    assert unmet(fragment_text(RECIPES[name], arch, name), kernel.config.read_text()) == []
    tree = ModuleTree.find(kernel.modules)
    assert "drm_xen_front" in tree.load_order(GUEST_MODULES + ["drm_xen_front", "vgem"])
    assert tree.release.endswith(f"-displif-{name}")
    assert build_kernel(name, arch).folder == kernel.folder, "a second time it comes out of the cache"
    assert not [link for link in Path(kernel.modules).iterdir() if link.is_symlink()]
    driver = build_driver(stock_driver_source(arch=arch), modules_dir=kernel.modules, arch=arch)
    assert [module_info(module.read_bytes(), module.name).vermagic.split()[0] for module in driver] == [tree.release] * 2
