"""One file out of a .tar.gz archive that is not trusted: streamed, bounded, whole or absent."""

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import IO

from priorbench.errors import PriorbenchError
from priorbench.io import atomic_path

LARGEST = 2 * 1024**3  # bytes that an archive may unpack to on the way to the wanted member, and the member itself
HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
LONGEST_HEADER = 1 << 20  # bytes of a long name or of extended attributes, which are read into memory


def unpack_member(archive: Path, member: str, output: Path, largest: int = LARGEST) -> None:
    """Write the regular file called exactly ``member`` in ``archive`` to ``output``; nothing else is written anywhere.

    No name in the archive becomes a path, so none can point outside.  A damaged or cut archive, one that lacks the
    member, a member that is a link, a folder or sparse, and one that unpacks to more than ``largest`` bytes before the
    member ends are a :class:`PriorbenchError`, and ``output`` is left as it was.
    """
    try:
        with (
            gzip.open(archive) as unpacked,
            tarfile.open(fileobj=_Bounded(unpacked, largest), mode="r|", tarinfo=_Entry) as content,  # type: ignore[call-overload]  # only read is used
            atomic_path(output) as temporary,
            temporary.open("wb") as target,
        ):
            shutil.copyfileobj(_find(content, archive, member), target)
    except FileNotFoundError:
        raise PriorbenchError(f"{archive}: no such archive; fetch it first") from None
    except _TooLargeError:
        raise PriorbenchError(
            f"{archive}: unpacks to more than {largest} bytes; it is not the archive expected"
        ) from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PriorbenchError(f"{archive}: damaged or cut short ({error}); delete it and fetch it again") from None


class _TooLargeError(Exception):
    pass


class _Entry(tarfile.TarInfo):
    """A header whose own content is bounded: names of a gigabyte would fill the memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in HEADERS and self.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]  # not in the stubs


class _Bounded:
    """A stream that raises once more than ``largest`` bytes were read of it."""

    def __init__(self, stream: gzip.GzipFile, largest: int) -> None:
        self.stream = stream
        self.left = largest

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise _TooLargeError
        return data


def _find(content: tarfile.TarFile, archive: Path, member: str) -> IO[bytes]:
    names = []
    for entry in content:
        if entry.name == member:
            source = content.extractfile(entry) if entry.isreg() and not entry.issparse() else None
            if source is None:
                raise PriorbenchError(
                    f"{archive}: {member} is not a regular file in it; it is not the archive expected"
                )
            return source
        names.append(entry.name)
    raise PriorbenchError(f"{archive}: holds no {member!r}; it holds {', '.join(map(repr, names[:8])) or 'nothing'}")
