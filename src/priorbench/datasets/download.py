"""Files from the internet, pinned by SHA-256, with a local mirror tried first."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from priorbench.errors import PriorbenchError
from priorbench.io import sha256_file

if TYPE_CHECKING:
    import requests

ATTEMPTS, PAUSE = 3, 2.0  # s, times the number of attempts made
GONE = (401, 403, 404, 410)  # answers that another attempt does not change


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
    import requests

    target = cache_folder() / relative
    advice = f"put a good copy at <mirror>/{relative} and name that folder in `mirror` or PRIORBENCH_MIRROR"
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE * attempt)
        try:
            return Path(pooch.retrieve(url, f"sha256:{sha256}", fname=target.name, path=target.parent))
        except requests.RequestException as error:
            reason = _why(error)
            if error.response is not None and error.response.status_code in GONE:
                break
        except ValueError:
            reason = f"the download is altered or cut short (its SHA-256 is not {sha256})"
    raise PriorbenchError(f"{url}: {reason}; {advice}")


def _why(error: "requests.RequestException") -> str:
    """The reason of a failed request in a few words."""
    if error.response is not None:
        return f"answers {error.response.status_code} {error.response.reason}"
    return f"cannot be downloaded ({type(error).__name__})"
