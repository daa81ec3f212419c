"""Files from the internet, pinned by SHA-256, with a local mirror tried first."""

import os
from pathlib import Path

from priorbench.errors import PriorbenchError
from priorbench.io import sha256_file


def fetch(url: str, sha256: str, relative: str, mirror: Path | None) -> Path:
    """Return the local path of a file whose content has the hash ``sha256``.

    ``<mirror>/<relative>`` is taken if it is there.  Otherwise ``url`` is downloaded, once, to the same relative path
    in the cache folder: ``PRIORBENCH_CACHE``, or the platform's own.  A file with another hash is refused, never used.
    """
    if mirror is not None:
        if not mirror.is_dir():
            raise PriorbenchError(
                f"mirror: no folder {mirror}; correct `mirror` (or PRIORBENCH_MIRROR) or leave it out"
            )
        copy = mirror / relative
        if copy.is_file():
            if sha256_file(copy) != sha256:
                raise PriorbenchError(
                    f"{copy}: the mirror's copy is altered or cut short (its SHA-256 is not {sha256}); "
                    f"replace it from {url} or remove it"
                )
            return copy
    return _download(url, sha256, relative)


def cache_folder() -> Path:
    """Where downloads are kept."""
    import pooch

    configured = os.environ.get("PRIORBENCH_CACHE")
    return Path(configured) if configured else Path(pooch.os_cache("priorbench"))


def _download(url: str, sha256: str, relative: str) -> Path:
    import pooch

    target = cache_folder() / relative
    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", fname=target.name, path=target.parent))
    except OSError as error:  # the base of every exception of requests
        raise PriorbenchError(
            f"{url}: cannot be downloaded ({type(error).__name__}); put the file at <mirror>/{relative} and name that "
            "folder in `mirror` or PRIORBENCH_MIRROR"
        ) from None
    except ValueError:
        raise PriorbenchError(
            f"{url}: the download is altered or cut short (its SHA-256 is not {sha256}); try again, or put a good copy "
            f"at <mirror>/{relative} and name that folder in `mirror` or PRIORBENCH_MIRROR"
        ) from None
