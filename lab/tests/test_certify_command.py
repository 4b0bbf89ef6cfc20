"""`certify` and `verify`, as a user types them, with keys of minisign's own."""
from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest

from lab import cli_certify
from lab.cli import main
from lab.errors import Stop
from lab.mandatory import binding_cases, mandatory_list, pinned_hashes, staleness, write_list
from lab.minisign import check, signature_of
from lab.suite import Case, Suite
from reports.tests import streams as s

CASES = (s.GOOD, s.WARN, s.SKIP)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recorded run of a suite with a list of its own."""
    lists = tmp_path / "lists"
    lists.mkdir()
    suite = Suite(tuple(Case(name, requirements=("a.b",)) for name in CASES), ({"id": "a.b", "level": "must"},))
    (lists / "lists.yaml").write_text("version: 1\nlists:\n")
    write_list(suite, "frontend", "2026-03-01", lists)
    monkeypatch.setattr(cli_certify, "mandatory_list", lambda role: mandatory_list(role, lists))
    monkeypatch.setattr(cli_certify, "pinned_hashes", lambda: pinned_hashes(lists))
    folder = tmp_path / "run"
    folder.mkdir()
    s.write(folder, [*s.head(CASES, suite_version={"commit": "c0ffee", "clean": True}), *s.good(), *s.warned(), *s.skipped()])
    return folder


def keys(folder: Path, name: str = "key") -> tuple[str, str]:
    secret, public = folder / name, folder / f"{name}.pub"
    subprocess.run(["minisign", "-G", "-W", "-s", secret, "-p", public], check=True, capture_output=True)
    return str(secret), str(public)


def test_certify_seals_and_verify_checks(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret, public = keys(tmp_path)
    assert main(["certify", "--run", str(run), "--key", secret]) == 0
    assert capsys.readouterr().out.startswith("CONFORMANT: some-frontend 6.1.176-1, qemu bed, pv guest")
    bundle = run / "bundle.tar"
    assert main(["verify", str(bundle), "--key", public]) == 0
    said = capsys.readouterr().out
    assert "checked   the signature" in said and said.endswith("VERIFIED\n")
    first = (bundle.read_bytes(), signature_of(bundle).read_bytes())
    assert main(["certify", "--run", str(run), "--key", secret]) == 0
    assert (bundle.read_bytes(), signature_of(bundle).read_bytes()) == first  # reproducible, the signature too


def test_what_was_signed_by_another_or_changed_does_not_verify(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret, public = keys(tmp_path)
    _, other = keys(tmp_path, "other")
    assert main(["certify", "--run", str(run), "--key", secret]) == 0
    bundle = run / "bundle.tar"
    assert main(["verify", str(bundle), "--key", other]) == 1
    assert "MISMATCH  the signature" in capsys.readouterr().out
    data = bytearray(bundle.read_bytes())
    data[data.index(b'"verdict":"pass"') + 12] ^= 1
    bundle.write_bytes(data)
    assert main(["verify", str(bundle), "--key", public]) == 1
    said = capsys.readouterr().out
    assert "MISMATCH  stream.jsonl: its sha256" in said and "MISMATCH  the signature" in said and "NOT VERIFIED" in said
    signature_of(bundle).unlink()
    assert main(["verify", str(bundle), "--key", public]) == 1
    assert "the bundle is not signed" in capsys.readouterr().out


def test_any_changed_byte_of_the_signature_is_found(run: Path, tmp_path: Path) -> None:
    """But those of the comment that minisign itself calls untrusted."""
    secret, public = keys(tmp_path)
    assert main(["certify", "--run", str(run), "--key", secret]) == 0
    bundle = run / "bundle.tar"
    signature = signature_of(bundle).read_bytes()
    comment = range(len(b"untrusted comment: "), signature.index(b"\n"))
    assert check(bundle, Path(public)) == ""
    for at in set(range(len(signature))) - set(comment):
        signature_of(bundle).write_bytes(signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1:])
        assert check(bundle, Path(public)) != "", at


def test_a_bundle_is_signed_though_nobody_listens(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    secret, public = keys(tmp_path)
    monkeypatch.setattr("sys.stdout", Closed())
    try:
        main(["certify", "--run", str(run), "--key", secret])
    except BrokenPipeError:
        pass
    assert check(run / "bundle.tar", Path(public)) == ""


def test_unsigned_is_said_loudly(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret, _ = keys(tmp_path)
    assert main(["certify", "--run", str(run), "--key", secret]) == 0
    assert main(["verify", str(run / "bundle.tar")]) == 0
    assert "NOT CHECKED: the signature" in capsys.readouterr().out
    assert main(["certify", "--run", str(run)]) == 0
    assert "NOT SIGNED" in capsys.readouterr().out and not signature_of(run / "bundle.tar").exists()
    assert main(["verify", str(run / "bundle.tar")]) == 0
    assert "NOT SIGNED" in capsys.readouterr().out


def test_a_peer_that_fails_needs_a_waiver_with_a_reference(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s.write(run, [*s.head(CASES, suite_version={"commit": "c0ffee", "clean": True}), *s.bad(s.GOOD), *s.warned(), *s.skipped()])
    assert main(["certify", "--run", str(run)]) == 1
    assert f"against   {s.GOOD}: fail, and no waiver covers it" in capsys.readouterr().out
    waivers = tmp_path / "waivers.yaml"
    waivers.write_text(f"- {{case: {s.GOOD}, verdict: fail, reason: old}}\n")
    assert main(["certify", "--run", str(run), "--waivers", str(waivers)]) == 2
    assert "reference is missing" in capsys.readouterr().err
    waivers.write_text(f"- {{case: {s.GOOD}, verdict: fail, reason: old, reference: issue 7}}\n")
    assert main(["certify", "--run", str(run), "--waivers", str(waivers)]) == 0
    assert capsys.readouterr().out.startswith("CONFORMANT WITH WAIVERS")


def test_a_mandatory_case_that_did_not_run_is_status_3(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s.write(run, [*s.head(CASES[:1], suite_version={"commit": "c0ffee", "clean": True}), *s.good()])
    assert main(["certify", "--run", str(run)]) == 3
    assert f"against   {s.WARN}: no verdict" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, wanted", [
    (["verify", "/nowhere.tar"], "No such file"), (["certify", "--run", "{run}", "--key", "/nowhere"], "minisign -G"),
    (["certify", "--run", "{run}", "--waivers", "/nowhere"], "No such file"), (["certify", "--run", "/nowhere"], "No such file"),
])
def test_bad_input_is_one_message(run: Path, arguments: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word.format(run=run) for word in arguments]) == 2
    assert wanted in capsys.readouterr().err


def test_a_list_that_was_changed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lists.yaml").write_text("version: 1\nlists:\n")
    suite = Suite((Case("frontend.a.b", requirements=("a.b",)), Case("frontend.c.d", requirements=("c.d",))),
                  ({"id": "a.b", "level": "must"}, {"id": "c.d", "level": "should"}))
    assert binding_cases(suite) == ["frontend.a.b"]
    write_list(suite, "frontend", "2026-03-01", tmp_path)
    assert mandatory_list("frontend", tmp_path) == ["frontend.a.b"]
    (tmp_path / "frontend.list").write_text("frontend.c.d\n")
    with pytest.raises(Stop, match="is not pinned"):
        mandatory_list("frontend", tmp_path)


@pytest.mark.parametrize("role", ["frontend", "backend"])
def test_the_lists_of_the_tree_are_the_pinned_ones(role: str) -> None:
    assert len(mandatory_list(role)) > 100


@pytest.mark.bed
@pytest.mark.parametrize("role", ["frontend", "backend"])
def test_the_lists_are_those_of_the_suite_as_it_is(role: str) -> None:
    from lab.build import build_carried
    from lab.progress import Progress
    from lab.suite import load_suite

    stale = staleness(load_suite(build_carried(Progress(quiet=True)).runner, role), role)
    assert not stale, stale


def test_a_stale_list_says_the_command_that_ends_it(tmp_path: Path) -> None:
    (tmp_path / "lists.yaml").write_text("version: 1\nlists:\n")
    old, new = (Suite(tuple(Case(f"backend.a.{name}", requirements=("a.b",)) for name in names), ({"id": "a.b", "level": "must"},))
                for names in ("xy", "yzv"))
    write_list(old, "backend", "2026-03-01", tmp_path)
    assert staleness(old, "backend", tmp_path) == ""
    assert staleness(new, "backend", tmp_path).splitlines() == [
        "cases/mandatory/backend.list is stale: 2 cases are not on it (backend.a.v, backend.a.z); 1 on it are no binding cases (backend.a.x)",
        "./displif-cts certify --make-list --role backend"]
