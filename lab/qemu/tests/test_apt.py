"""apt's settings for another architecture: nothing of the machine is changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.qemu import apt
from lab.qemu.cache import Cache
from lab.qemu.errors import BedError

OTHER = "arm64" if apt.machines_architecture() == "amd64" else "amd64"


def silent(_phase: str, _seconds: float | None) -> None:
    pass


def fetch(monkeypatch: pytest.MonkeyPatch, works: bool = True) -> list[list[str]]:
    calls: list[list[str]] = []

    def run(command: list[str], cwd: Path | None = None, settings: Path | None = None) -> "subprocess.CompletedProcess[str]":
        assert settings is not None
        calls.append(command)
        if works:
            (settings.parent / "lists" / "mirror_main_Packages").touch()
        return subprocess.CompletedProcess(command, 0 if works else 100, "", "" if works else "E: no such host\n")

    monkeypatch.setattr(apt, "run", run)
    return calls


def test_the_machines_own_architecture_has_the_machines_settings(tmp_path: Path) -> None:
    assert apt.settings_for(Cache(tmp_path), apt.machines_architecture(), silent) is None


def test_lists_are_fetched_once_and_when_the_machines_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fetch(monkeypatch)
    assert apt.settings_for(Cache(tmp_path), OTHER, silent) == apt.settings_for(Cache(tmp_path), OTHER, silent)
    assert calls == [["apt-get", "-q", "update"]]
    monkeypatch.setattr(apt, "apt_stamp", lambda: ["changed"])
    apt.settings_for(Cache(tmp_path), OTHER, silent)
    assert len(calls) == 2


def test_lists_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(monkeypatch, works=False)
    with pytest.raises(BedError, match=f"apt's lists for {OTHER} could not be fetched: E: no such host"):
        apt.settings_for(Cache(tmp_path), OTHER, silent)


def test_apt_reads_nothing_of_the_machines_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(monkeypatch)
    settings = apt.settings_for(Cache(tmp_path), OTHER, silent)
    monkeypatch.undo()
    told = apt.run(["apt-config", "dump"], settings=settings).stdout
    assert f'APT::Architecture "{OTHER}";' in told and told.count("APT::Architectures:: ") == 1
    folder = tmp_path / f"apt-{OTHER}"
    for what in ("Dir::State", "Dir::State::lists", "Dir::State::status", "Dir::Cache"):
        assert f'{what} "{folder}' in told
