"""Files in object stores, by their URI: s3://bucket/run, memory://a, and whatever fsspec knows.

What goes wrong on the way and may go right the next time (a connection that broke, a store that is
busy) is tried again, later each time; what will not (no such bucket, no permission) is said at
once. Errors are in words of our own: those of the libraries below can quote a URI with its
password, or a request with its signature.
"""

import errno
import importlib
import random
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from minigrad.errors import RunError

__all__ = ["Remote", "redacted"]

T = TypeVar("T")

ATTEMPTS = 4
FIRST_WAIT = 0.5  # seconds; twice as long each time, and less by chance, so that many do not meet
LONGEST = 120.0  # seconds after which nothing is tried again
# An upload may wait for an answer that never comes: seconds that it is given, and bytes a second
# that are expected of the slowest line.
PATIENCE, SLOWEST = 60.0, 1e5

# How errors that may pass are called, whichever library they are of.
_PASSING = {
    "ClientConnectionError", "ClientPayloadError", "FlexibleChecksumError", "HTTPClientError",
    "IncompleteRead", "IncompleteReadError", "ReadTimeoutError", "ResponseParserError",
    "ResponseStreamingError", "ServiceRequestError", "ServiceResponseError", "TransportError",
}  # fmt: skip
_PASSING_CODES = re.compile(
    "BadDigest|Bandwidth|IncompleteBody|InternalError|LimitExceeded|OperationAborted|"
    "SHA256Mismatch|ServiceUnavailable|SlowDown|Throttl|TimeoutException|RequestTimeout$|TooMany"
)
_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504, 509}
_UNAUTHORIZED = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
                 "TokenRetrievalError", "ProfileNotFound", "ClientAuthenticationError"}  # fmt: skip
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound"}

# Where the libraries look for what they need; never what they find there.
_SETTINGS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE, ~/.aws), AWS_REGION, and "
    "for another store than Amazon's AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or gcloud's login",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or its relatives",
}
_SAME_SETTINGS = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az", "adl": "az"}
# What tells one content of an object from the next, by the names that stores give to it.
_STAMPS = ("ETag", "etag", "generation", "LastModified", "last_modified", "updated", "mtime",
           "modified", "created", "size")  # fmt: skip


def redacted(uri: str) -> str:
    """A URI as it may be shown and saved: *** for user and password, and for a query."""
    scheme, mark, rest = uri.partition("://")
    if not mark:
        return uri
    head, query, tail = rest.partition("?")
    if "@" in tail and re.match(r"[^/]*:(?!\d*(/|$))", head):
        return f"{scheme}://***"  # a password with a question mark in it
    before, at, after = head.rpartition("@")
    if at and (":" in before or "/" not in before):  # else it belongs to a name
        head = f"***@{after}"
    return f"{scheme}://{head}" + ("?***" if query else "")


class _Short(Exception):
    """Other bytes came than were asked for."""


class _Replaced(Exception):
    """The object is another one than it was."""


class _Failure(NamedTuple):
    """Why something could not be done, in words of ours."""

    reason: str
    passing: bool = False
    missing: bool = False


class Remote:
    """An object in a store, or all whose names begin with its own.

    The bytes of one Remote are of one content: if the object is replaced between two reads, the
    second raises.
    """

    def __init__(self, uri: str):
        self.uri = uri
        self._store: tuple[Any, str] | None = None
        self._seen: dict[str, Any] | None = None

    def __str__(self) -> str:
        return redacted(self.uri)

    def __repr__(self) -> str:
        return f"Remote({str(self)!r})"

    # ------------------------------------------------------------------------------ as any place

    def size(self) -> int:
        info = self._looked()
        size = info.get("size")
        return len(self._done("read", lambda fs, path: fs.cat_file(path))) if size is None else size

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        if start == 0 and stop is None:
            return self._done("read", self._all)
        seen = self._looked()
        return self._done("read", lambda fs, path: _part(fs, path, seen, start, stop))

    def _all(self, fs: Any, path: str) -> bytes:
        """All of what is there now, also while others replace it."""
        for attempt in range(ATTEMPTS):
            self._seen = fs.info(path)
            try:
                return _part(fs, path, self._seen)
            except _Replaced:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError

    def write(self, pieces: Iterable[bytes]) -> None:
        data = b"".join(pieces)
        self._seen = None

        def put(fs: Any, path: str) -> None:
            if _replaces(fs):
                limit = {"timeout": PATIENCE + len(data) / SLOWEST} if fs.async_impl else {}
                fs.pipe_file(path, data, **limit)
                return
            # A file system: its files grow as they are written, and are moved at once.
            folder, _, name = path.rpartition("/")
            beside = f"{folder}/.{name}.tmp-{secrets.token_hex(8)}"
            fs.makedirs(folder, exist_ok=True)
            try:
                fs.pipe_file(beside, data)
                fs.mv(beside, path)
            except BaseException:
                if fs.exists(beside):
                    fs.rm_file(beside)
                raise

        self._done("write", put)

    # ------------------------------------------------------------------------ as part of a store

    def whole(self) -> bytes | None:
        """The bytes of a small object as it is now, by one request; None if there is none.

        Raises:
            RunError: nobody can say.
        """
        data, failure = self._tried(lambda fs, path: fs.cat_file(path))
        if failure is not None and failure.missing:
            return None
        return self._unless(failure, "read", data)

    def is_file(self) -> bool:
        """Whether there is an object of just this name. Raises RunError if nobody can say."""
        self._seen = self._info()
        return self._seen is not None

    def names(self) -> list[str]:
        """The next parts of the names that begin with this one's and a slash."""

        def names(fs: Any, path: str) -> list[str]:
            found = {entry["name"].strip("/") for entry in fs.ls(path, detail=True)}
            return sorted(name.rpartition("/")[2] for name in found - {path.strip("/")})

        found, failure = self._tried(names)
        if failure is not None and failure.missing:
            return []
        return self._unless(failure, "list", found)

    def below(self) -> list[str]:
        """The rest of every name that begins with this one's and a slash."""

        def rests(fs: Any, path: str) -> list[str]:
            begin = path.strip("/") + "/"
            found = (name.strip("/") for name in fs.find(path))
            return sorted(name.removeprefix(begin) for name in found if name.startswith(begin))

        found, failure = self._tried(rests)
        if failure is not None and failure.missing:
            return []
        return self._unless(failure, "list", found)

    def modified(self) -> datetime | None:
        """When the object was written, by the store's clock; None if the store does not say."""
        found, _ = self._tried(lambda fs, path: fs.modified(path))
        return found if isinstance(found, datetime) else None

    def remove(self, attempts: int = ATTEMPTS) -> None:
        """Remove the object, if it is there. Raises RunError if it cannot be removed."""
        _, failure = self._tried(lambda fs, path: fs.rm_file(path), attempts)
        if failure is None or not failure.missing:
            self._unless(failure, "remove", None)

    # ---------------------------------------------------------------------------------- the ways

    def _info(self) -> dict[str, Any] | None:
        """What the store says of the object; None if there is none."""
        info, failure = self._tried(lambda fs, path: fs.info(path))
        if failure is not None and failure.missing:
            return None
        info = self._unless(failure, "read", info)
        return None if info is None or info.get("type") == "directory" else info

    def _looked(self) -> dict[str, Any]:
        """What the store said when it was first asked."""
        if self._seen is None:
            self._seen = self._info()
            if self._seen is None:
                raise RunError(f"cannot read {self}: there is no such object")
        return self._seen

    def _done(self, doing: str, call: Callable[[Any, str], T]) -> T:
        result, failure = self._tried(call)
        return self._unless(failure, doing, result)

    def _unless(self, failure: _Failure | None, doing: str, result: Any) -> Any:
        if failure is not None:
            raise RunError(f"cannot {doing} {self}: {failure.reason}")
        return result

    def _tried(
        self, call: Callable[[Any, str], T], attempts: int = ATTEMPTS
    ) -> tuple[T | None, _Failure | None]:
        """What `call(file system, path)` gives, or why it gives nothing.

        The failure is returned, so that what is raised is raised outside of `except`: an exception
        keeps the one that it was raised beside, and whoever prints it may print both.
        """
        begun = time.monotonic()
        for attempt in range(1, attempts + 1):
            try:
                fs, path = self._opened()
                fs.invalidate_cache()  # what others have written counts
                return call(fs, path), None
            except MemoryError:
                raise
            except Exception as error:
                failure = self._failure(error)
            if not failure.passing:
                break
            if attempt == attempts or time.monotonic() - begun > LONGEST:
                tries = f"{attempt} attempts" if attempt > 1 else "one attempt"
                failure = failure._replace(reason=f"{failure.reason}, after {tries}; try later")
                break
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))
        return None, failure

    def _opened(self) -> tuple[Any, str]:
        """fsspec's file system, and the object's path in it."""
        if self._store is None:
            _keep_requests_out_of_logs()
            url_to_fs = importlib.import_module("fsspec.core").url_to_fs
            if self._protocol() == "s3":
                fs, path = url_to_fs(self.uri, use_listings_cache=False)
                fs.retries = 1  # botocore repeats requests as AWS_MAX_ATTEMPTS says; and we do
            else:
                fs, path = url_to_fs(self.uri)
            self._store = fs, path
        return self._store

    def _protocol(self) -> str:
        protocol = self.uri.partition("://")[0].lower()
        return _SAME_SETTINGS.get(protocol, protocol)

    def _failure(self, error: Exception) -> _Failure:
        """What an error says, without any text of its own."""
        if isinstance(error, _Short):
            return _Failure(str(error), passing=True)
        if isinstance(error, _Replaced):
            return _Failure("it has been replaced since it was first looked at; load it again")
        if isinstance(error, ImportError):
            extra = "s3" if self._protocol() == "s3" else "stores"
            more = "" if extra == "s3" else ", and what fsspec needs for this kind of store"
            return _Failure(f"a library is missing; pip install 'minigrad[{extra}]'{more}")
        if self._store is None and isinstance(error, ValueError):
            return _Failure("fsspec knows no such kind of store; check the URI")
        causes = list(_causes(error))
        names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
        codes = [code for cause in causes if (code := _code(cause))]
        status = next((number for cause in causes if (number := _status(cause))), None)
        said = ", ".join([*dict.fromkeys(codes), *([str(status)] if status else [])])
        said = said or type(error).__name__
        settings = _SETTINGS.get(self._protocol(), "the configuration of fsspec")
        if names & _UNAUTHORIZED:
            return _Failure(f"there are no credentials: {said}; they are taken from {settings}")
        if _NO_BUCKET.intersection(codes):
            return _Failure(f"there is no such bucket: {said}; make it first, or check {settings}")
        if isinstance(error, PermissionError) or status in (401, 403):
            return _Failure(
                f"the store refuses: {said}; check what these credentials may do, and {settings}"
            )
        if (
            names & _PASSING
            or status in _PASSING_STATUS
            or any(map(_PASSING_CODES.search, codes))
            or any(isinstance(cause, ConnectionError | TimeoutError) for cause in causes)
        ):
            return _Failure(f"the store cannot be reached or is busy: {said}", passing=True)
        if isinstance(error, FileNotFoundError):
            return _Failure("there is no such object", missing=True)
        if isinstance(error, OSError) and error.errno:
            said += f" ({errno.errorcode.get(error.errno, error.errno)})"
        return _Failure(f"{said}; check the URI, and {settings}")


def _replaces(fs: Any) -> bool:
    """Whether a store puts an object in place when all of it has come, as object stores do."""
    return fs.async_impl or "memory" in fs.protocol


def _part(
    fs: Any, path: str, seen: dict[str, Any], start: int = 0, stop: int | None = None
) -> bytes:
    """Some bytes of an object, if it is still the one that was seen."""
    size = seen.get("size")
    if size is None:  # a web server that does not say: whole, then
        return fs.cat_file(path)[start:stop]
    stop = size if stop is None else min(stop, size)
    data = fs.cat_file(path, start=start, end=stop) if start < stop else b""
    if _stamp(fs.info(path)) != _stamp(seen):
        raise _Replaced
    if len(data) != max(stop - start, 0):
        raise _Short(f"{len(data)} bytes came, {stop - start} were asked for")
    return data


def _stamp(info: dict[str, Any]) -> list[Any]:
    return [info.get(key) for key in _STAMPS]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was made from, and so on."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__


def _code(error: BaseException) -> str | None:
    """An S3 server's own name for what happened, if it is a name."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return code if isinstance(code, str) and re.fullmatch(r"[A-Za-z.]{1,60}", code) else None


def _status(error: BaseException) -> int | None:
    """The status of an HTTP answer, wherever a library keeps it."""
    response = getattr(error, "response", None)
    about = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    found = [about.get("HTTPStatusCode")]
    for name in ("status", "status_code", "code"):
        if type(found[-1]) is not int:
            found.append(getattr(error, name, None))
    return next((n for n in found if type(n) is int and 400 <= n <= 599), None)


def _keep_requests_out_of_logs() -> None:
    """At DEBUG these libraries log whole requests, with signatures and tokens.

    Who asks for everybody's DEBUG does not get theirs; who sets the level of one of them does.
    """
    import logging

    for name in ("aiobotocore", "botocore", "fsspec", "gcsfs", "s3fs"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
