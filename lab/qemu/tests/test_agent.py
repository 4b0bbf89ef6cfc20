"""The host's end of the line protocol, against an agent played by the test."""

import json
import socket
import threading
import time

import pytest

from lab.qemu.agent import AgentChannel, encode_request, encode_value
from lab.qemu.errors import AgentTimeout, BedError, InstanceDied


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain/path-1.ko", "plain/path-1.ko"),
        ("a b", "a%20b"),
        ("100%,x=1\n", "100%25%2Cx%3D1%0A"),
        (True, "1"),
        (7, "7"),
        (["a,b", "c d", ""], "a%2Cb,c%20d,"),
        ("\u00e9\x7f", "%C3%A9%7F"),
        ("~!\"#$&'()*+-./:;<>?@[]\\^_`{|}", "~!\"#$&'()*+-./:;<>?@[]\\^_`{|}"),
    ],
)
def test_values(value, text):
    assert encode_value(value) == text


def test_request_line():
    line = encode_request(3, "start", {"name": "x", "argv": ["a", "b c"], "env": None})
    assert line == b"3 start name=x argv=a,b%20c\n"


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    channel = AgentChannel(ours)
    yield channel, theirs
    theirs.close()
    channel.close()


def reply(peer, **answer):
    peer.sendall(json.dumps(answer).encode() + b"\n")


def test_answers_out_of_order(ends):
    channel, peer = ends
    first, second = channel.submit("a"), channel.submit("b")
    reply(peer, seq=2, ok=True, who="b")
    reply(peer, seq=1, ok=False, errno="EINVAL")
    assert second.result(5)["who"] == "b"
    assert first.result(5) == {"seq": 1, "ok": False, "errno": "EINVAL"}


def test_answer_in_pieces_and_noise(ends):
    channel, peer = ends
    pending = channel.submit("a")
    for piece in (b"no json\n{}\n{\"seq\": 9}\n{\"se", b"q\": 1, \"ok\"", b": true}\n"):
        peer.sendall(piece)
        time.sleep(0.01)
    assert pending.result(5)["ok"]


def test_payload_follows_its_line(ends):
    channel, peer = ends
    thread = threading.Thread(target=channel.put, args=("/tmp/x", b"\0\n\xff" * 3))
    thread.start()
    expected = b"1 put path=/tmp/x mode=644 size=9\n" + b"\0\n\xff" * 3
    seen = b""
    while len(seen) < len(expected):
        seen += peer.recv(100)
    assert seen == expected
    reply(peer, seq=1, ok=True)
    thread.join(5)
    assert not thread.is_alive()


def test_silence_is_a_timeout(ends):
    channel, peer = ends
    with pytest.raises(AgentTimeout):
        channel.call("hello", timeout=0.05)
    # The late answer hurts nobody.
    reply(peer, seq=1, ok=True)
    pending = channel.submit("again")
    reply(peer, seq=2, ok=True)
    assert pending.result(5)["seq"] == 2


def test_refusal_is_an_error_only_when_required(ends):
    channel, peer = ends
    for seq in (1, 2):
        reply(peer, seq=seq, ok=False, unsupported=True)
    pending = channel.submit("x")
    time.sleep(0.05)
    # Answers that came before their request are noise.
    reply(peer, seq=1, ok=False, unsupported=True)
    assert pending.result(5)["unsupported"]
    thread = threading.Timer(0.05, reply, (peer,), {"seq": 2, "ok": False, "errno": "ENOENT"})
    thread.start()
    with pytest.raises(BedError) as error:
        channel.require("mount-carried", timeout=5)
    assert "mount-carried" in error.value.message and "ENOENT" in error.value.message


def test_death_ends_every_wait(ends):
    channel, peer = ends
    pending = channel.submit("hello")
    threading.Timer(0.05, peer.close).start()
    with pytest.raises(InstanceDied):
        pending.result(5)
    with pytest.raises(InstanceDied):
        channel.call("hello", timeout=5)
