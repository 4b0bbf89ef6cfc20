"""What LAVA's schema does not see in a job or a device dictionary, and what then goes wrong without a word (LAVA 2023.01)."""
from __future__ import annotations

import re
from typing import Any, Iterator

import yaml

_CONSTANTS = ("failure_retry", "boot_retry", "kernel-start-message", "default-shell-prompt", "spawn_maxread")
_RESULTS = ("pass", "fail", "skip", "unknown")
_IMAGE_HASHES = ("sha256sum", "sha512sum")


def lint_job(text: str) -> list[str]:
    """Each complaint with its place."""
    job, complaint = _load(text)
    if complaint:
        return [complaint]
    return [*_context(job), *_metadata(job), *(text for at, action in enumerate(job.get("actions") or []) for text in _action(f"actions[{at}]", action))]


def lint_device(text: str) -> list[str]:
    device, complaint = _load(text)
    if complaint:
        return [complaint]
    constants = device.get("constants") or {}
    found = [f"constants: {name} is missing: lava-run ends with a traceback" for name in _CONSTANTS if name not in constants]
    if "parameters" not in device:
        found.append("parameters is missing: lava-run ends with a traceback")
    if not device.get("available_architectures"):
        found.append("available_architectures is missing: no job validates")
    return found


def _load(text: str) -> tuple[dict[str, Any], str]:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return {}, f"not YAML: {' '.join(str(error).split())}"
    return (data, "") if isinstance(data, dict) else ({}, "not a mapping")


def _context(job: dict[str, Any]) -> Iterator[str]:
    boots = [action["boot"] for action in job.get("actions") or [] if isinstance(action, dict) and isinstance(action.get("boot"), dict)]
    if any(boot.get("method") == "qemu" for boot in boots) and not (job.get("context") or {}).get("arch"):
        yield "context: arch is missing: a qemu device refuses the job"


def _metadata(job: dict[str, Any], place: str = "metadata", value: Any = None) -> Iterator[str]:
    value = job.get("metadata") if value is None else value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _metadata(job, f"{place}.{key}", item) if item is not None else ()
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _metadata(job, f"{place}[{at}]", item) if item is not None else ()
    elif isinstance(value, float):
        yield f"{place}: {value} is a number with a point: the server rejects the job; write it as text"


def _action(place: str, action: Any) -> Iterator[str]:
    if not isinstance(action, dict):
        return
    deploy, test = action.get("deploy"), action.get("test")
    if isinstance(deploy, dict):
        for name, image in (deploy.get("images") or {}).items():
            yield from _image(f"{place}.deploy.images.{name}", image, set(deploy["images"]))
    if isinstance(test, dict):
        for at, monitor in enumerate(test.get("monitors") or []):
            yield from _monitor(f"{place}.test.monitors[{at}]", monitor)


def _image(place: str, image: Any, names: set[str]) -> Iterator[str]:
    if not isinstance(image, dict):
        yield f"{place}: not a mapping"
        return
    if not any(name in image for name in _IMAGE_HASHES):
        yield f"{place}: no {' or '.join(_IMAGE_HASHES)}: whatever lies at the URL is booted"
    unknown = set(re.findall(r"\{([a-z0-9_-]+)\}", str(image.get("image_arg", "")))) - names
    for name in sorted(unknown):
        yield f"{place}.image_arg: {{{name}}} is no image of this job: QEMU gets the braces"


def _monitor(place: str, monitor: Any) -> Iterator[str]:
    if not isinstance(monitor, dict):
        yield f"{place}: not a mapping"
        return
    patterns: dict[str, re.Pattern[str]] = {}
    for name in ("start", "end", "pattern"):
        try:
            patterns[name] = re.compile(str(monitor.get(name, "")))
        except re.error as error:
            yield f"{place}.{name}: not a regular expression: {error}"
    pattern = patterns.get("pattern")
    if pattern is None:
        return
    for group in {"test_case_id", "result"} - set(pattern.groupindex):
        yield f"{place}.pattern: no group {group}: no result is ever recorded"
    for name in ("pattern", "end"):
        if name in patterns and not patterns[name].pattern.endswith(("\\r", "\\r\\n", "$")):
            yield f"{place}.{name}: does not end with \\r: half a line matches as soon as it is there"
    for group in {"units", "measurement"} & set(pattern.groupindex):
        if pattern.search(_without_measurement(pattern)) is not None:
            yield f"{place}.pattern: the group {group} may match nothing: the server then drops the verdict"
    for old, new in (monitor.get("fixupdict") or {}).items():
        if new not in _RESULTS:
            yield f"{place}.fixupdict: {old} becomes {new}, which is none of {', '.join(_RESULTS)}"


def _without_measurement(pattern: re.Pattern[str]) -> str:
    """A line of ours that has no measurement: does the pattern take it, although it names a group for one?"""
    return "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a RESULT=pass>\r"
