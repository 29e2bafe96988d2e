"""What the machine offers: Python, packages, the clock, open files, the port."""

import http.client
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from importlib import metadata
from urllib.parse import urlsplit

from models.errors import SettingInvalid
from models.settings import Settings
from streamer.data_folder import running_url
from streamer.doctor.check import Finding, failed, ok, warning
from streamer.listen_address import free_port, public_url
from tasks import tokenizer

PACKAGE = "streamer"

#: No clock that is right shows less (2026-01-01).
EARLIEST = 1_767_225_600.0

#: Descriptors that a web process needs beside one for each viewer.
OTHER_DESCRIPTORS = 300

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*\(?([^;)]*)\)?\s*(?:;(.*))?")
_BOUND = re.compile(r"(>=|<=|==|!=|>|<)\s*([0-9.]+)")


def python(settings: Settings) -> Iterator[Finding]:
    """Whether this Python is one that the package asks for."""
    version = ".".join(map(str, sys.version_info[:3]))
    try:
        wanted = metadata.metadata(PACKAGE)["Requires-Python"]
    except metadata.PackageNotFoundError:  # a checkout; whatever got here is new enough to have parsed it
        wanted = ""
    if allows(wanted, version):
        yield ok(f"Python {version} ({sys.executable})")
    else:
        yield failed(f"Python {version} is not {wanted}", "make the environment again with a newer Python")


def packages(settings: Settings) -> Iterator[Finding]:
    """Whether each package that ours asks for is installed, in a version that it asks for."""
    try:
        wanted = [each for each in metadata.requires(PACKAGE) or [] if "extra ==" not in each]
    except metadata.PackageNotFoundError:
        yield warning("streamer runs from a checkout that is not installed", "install it: `scripts/install`")
        return
    faults = [fault for each in wanted if (fault := package_fault(each))]
    for fault in faults:
        yield failed(fault, "install again: `scripts/install`, or pip with requirements/runtime.txt")
    if not faults:
        yield ok(f"all {len(wanted)} packages of streamer {metadata.version(PACKAGE)} are there")


def package_fault(requirement: str) -> str:
    """What is wrong with the installation of one requirement (PEP 508, without its marker); empty where nothing is."""
    found = _REQUIREMENT.match(requirement)
    if found is None:
        return ""
    name, bounds = found[1], found[2].strip()
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed"
    return "" if allows(bounds, version) else f"{name} is {version}, not {bounds}"


def allows(bounds: str, version: str) -> bool:
    """Whether a version's numbers keep all bounds such as `>=2.2,<3`."""
    ours = _numbers(version)
    for sign, bound in _BOUND.findall(bounds):
        theirs = _numbers(bound)
        length = max(len(ours), len(theirs))
        left, right = (each + (0,) * (length - len(each)) for each in (ours, theirs))
        keeps = {
            ">=": left >= right, "<=": left <= right, "==": left == right,
            "!=": left != right, ">": left > right, "<": left < right,
        }  # fmt: skip
        if not keeps[sign]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def ranks(settings: Settings) -> Iterator[Finding]:
    """Whether what counts tokens is whole. Reading it takes some 0.3 s."""
    encoding = tokenizer.encoder("")
    yield ok(f"{encoding.name} with {encoding.n_vocab} tokens")


def clock(settings: Settings) -> Iterator[Finding]:
    """Whether the clock can be right: tokens, tickets and certificates go by it."""
    now = time.time()
    shown = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if now < EARLIEST:
        yield failed(f"the clock says {shown}", "set it, or let an NTP client do so: tokens and certificates go by it")
    else:
        yield ok(shown)


def open_files(settings: Settings) -> Iterator[Finding]:
    """Whether a web process may hold a descriptor for each viewer. `streamer up` raises the soft limit by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_viewers + OTHER_DESCRIPTORS
    found = f"at most {_limit(soft)} open files, up to {_limit(hard)} on request"
    change = f"allow {wanted} (systemd: LimitNOFILE=, shell: `ulimit -n`), or lower STREAMER_MAX_VIEWERS"
    if not _holds(hard, wanted):
        yield warning(f"{found}; {settings.max_viewers} viewers need {wanted}", change)
    elif not _holds(soft, wanted) and settings.redis_url:  # `serve` takes what it is given
        yield warning(f"{found}; `streamer serve` with {settings.max_viewers} viewers needs {wanted}", change)
    else:
        yield ok(found)


def _holds(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted


def _limit(value: int) -> str:
    return "any number of" if value == resource.RLIM_INFINITY else str(value)


def port(settings: Settings) -> Iterator[Finding]:
    """Whether the port is free, or ours already."""
    running = running_url(settings)
    url = running or public_url(settings.host, settings.port)
    if (running or settings.port) and _is_ours(url):
        yield ok(f"the service answers at {url}")
        return
    try:
        free_port(settings.host, settings.port)
    except SettingInvalid as error:
        yield failed(error.message, "choose another with --port or STREAMER_PORT, --host or STREAMER_HOST")
    else:
        yield ok(f"{settings.host}:{settings.port} is free" if settings.port else f"any free one on {settings.host}")


def _is_ours(url: str) -> bool:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=1.0)) as connection:
        try:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            return answer.status == 200 and answer.read(64) == b'{"status":"ok"}'
        except (OSError, http.client.HTTPException):
            return False
