"""How many files and sockets a process may have open."""

import resource

_MOST = 1_048_576


def raise_open_files() -> None:
    """Debian's soft limit of 1024 would be reached by a few hundred viewers or answers; children inherit ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
