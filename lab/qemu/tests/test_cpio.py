"""The initramfs writer against a reader made from the format's description alone."""

import io
import stat

from lab.qemu.cpio import CpioWriter


def entries(archive: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """name -> (mode, data, device) of a "newc" archive; checks magic, alignment and the trailer."""
    found: dict[str, tuple[int, bytes, tuple[int, int]]] = {}
    offset = 0
    while True:
        assert archive[offset : offset + 6] == b"070701"
        fields = [int(archive[offset + 6 + 8 * i : offset + 14 + 8 * i], 16) for i in range(13)]
        mode, size, device, name_size = fields[1], fields[6], (fields[9], fields[10]), fields[11]
        name_start = offset + 110
        name = archive[name_start : name_start + name_size - 1].decode()
        assert archive[name_start + name_size - 1] == 0
        data_start = (name_start + name_size + 3) & ~3
        offset = (data_start + size + 3) & ~3
        if name == "TRAILER!!!":
            assert offset == len(archive)
            return found
        assert name not in found, f"{name} twice"
        found[name] = (mode, archive[data_start : data_start + size], device)


def write(*steps) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    out = io.BytesIO()
    writer = CpioWriter(out)
    for step in steps:
        step(writer)
    writer.close()
    return entries(out.getvalue())


def test_file_brings_its_directories_once():
    found = write(
        lambda w: w.file("a/b/c", b"12345", 0o755),
        lambda w: w.file("/a/b/d", b""),
    )
    assert list(found) == ["a", "a/b", "a/b/c", "a/b/d"]
    assert found["a/b/c"] == (stat.S_IFREG | 0o755, b"12345", (0, 0))
    assert found["a"][0] == stat.S_IFDIR | 0o755


def test_device_and_link():
    found = write(lambda w: w.char_device("dev/console", 5, 1), lambda w: w.symlink("init", "bin/busybox"))
    assert found["dev/console"] == (stat.S_IFCHR | 0o600, b"", (5, 1))
    assert found["init"] == (stat.S_IFLNK | 0o777, b"bin/busybox", (0, 0))


def test_executable_bit_is_copied(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"x")
    program.chmod(0o700)
    assert write(lambda w: w.copy("p", program))["p"][0] == stat.S_IFREG | 0o755


def test_equal_contents_give_equal_archives():
    def archive() -> bytes:
        out = io.BytesIO()
        writer = CpioWriter(out)
        writer.file("x/y", b"data")
        writer.close()
        return out.getvalue()

    assert archive() == archive()
