"""PMIx_Get_credential and PMIx_Validate_credential: proof of who a process is, for another. Standard 4.2, chapter 14.

Munge's where it runs, as that is good beyond the job: the carrier asks it (`Seal`, `Unseal`). Otherwise, or
where PMIX_CRED_TYPE asks for it, a token of this host's: what it says of the process, signed with a key that each shell
makes for itself and tells nobody. Whoever validates one has the shell that made it look at it.

    CHECK    generation: the asker's token; block: the credential
    CHECKED  generation: the token asked with; status; block: user and group
"""

from __future__ import annotations

from fluxpmix.host import wire
from fluxpmix.host.capability import Capability
from fluxpmix.host.directives import timeout, unsupported
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect, Level, Log, Reply, Seal, Send, Unseal
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.supported import CREDENTIAL
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import DataType, Info, Infos, find
from fluxpmix.pmix.upcalls import GetCredential, ValidateCredential

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TOKEN, MUNGE = "fluxpmix", "munge"
PATIENCE = 5.0  # seconds for another shell to look, where PMIX_TIMEOUT does not say it
_MAGIC = b"fluxpmix credential 1\n"
_SIGNATURE = 32
_MUNGE_STARTS = b"MUNGE:"
INVALID = int(Status.ERR_INVALID_CRED)
NOT_SUPPORTED = int(Status.ERR_NOT_SUPPORTED)


class Credentials(Capability):
    """Credentials that this shell makes and looks at."""

    def __init__(self, directory: Directory, me: int, owner: tuple[int, int], key: bytes) -> None:
        """`owner` is the user and group of the job's processes, `key` this shell's own: random, at least 32 bytes."""
        self._me = me
        self._directory = directory
        self._owner = owner
        self._key = key
        self._made = 0
        self._tokens = 0
        self._open: dict[int, tuple[int, int, float | None]] = {}  # by token: upcall, shell, deadline
        self._lost: set[int] = set()

    @property
    def idle(self) -> bool:
        return not self._open

    @property
    def deadline(self) -> float | None:
        return min((until for _, _, until in self._open.values() if until is not None), default=None)

    def upcall(self, upcall: GetCredential | ValidateCredential, now: float, out: list[Effect]) -> None:
        """Make a credential, or look at one."""
        wanted = find(upcall.directives, attributes.CRED_TYPE)
        types = wanted.split(",") if isinstance(wanted, str) and wanted else None
        missing = unsupported(upcall.directives, CREDENTIAL)
        if missing or (types is not None and not {TOKEN, MUNGE} & set(types)):
            out.append(Log(Level.WARNING, f"no credential: {missing or wanted} is not supported"))
            out.append(Reply(upcall.id, NOT_SUPPORTED))
        elif isinstance(upcall, GetCredential):
            token = self._make(upcall) if types is None or TOKEN in types else None
            munge = types is None or MUNGE in types
            out.append(Seal(upcall.id, token) if munge else Reply(upcall.id, int(Status.SUCCESS), token))
        elif upcall.credential.startswith(_MUNGE_STARTS):
            out.append(Unseal(upcall.id, upcall.credential))
        else:
            self._validate(upcall, now, out)

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        blob = bytes(message.blocks[0][1]) if len(message.blocks) == 1 else b""
        if message.tag is Tag.CHECK:
            found = self._look_at(blob)
            block = () if found is None else ((self._me, wire.encode(found)),)
            status = INVALID if found is None else int(Status.SUCCESS)
            out.append(Send(source, encode(Message(Tag.CHECKED, 0, message.generation, NO_DIGEST, status, block))))
            return None
        one = self._open.get(message.generation)
        if one is None or one[1] != source:
            return None  # it came too late
        del self._open[message.generation]
        try:
            ids: Any = wire.decode(blob) if message.status == Status.SUCCESS else None
        except wire.WireError as error:
            ids = None
            out.append(Log(Level.WARNING, f"a credential's owner: {error}"))
        out.append(_answer(one[0], ids if _are_ids(ids) else None))
        return None

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._lost.add(shell)
        for token, (upcall, asked, _) in list(self._open.items()):
            if asked == shell:
                del self._open[token]
                out.append(Reply(upcall, int(Status.ERR_LOST_CONNECTION)))

    def tick(self, now: float, out: list[Effect]) -> None:
        for token, (upcall, _, until) in list(self._open.items()):
            if until is not None and until <= now:
                del self._open[token]
                out.append(Reply(upcall, int(Status.ERR_TIMEOUT)))

    def abandon(self, status: int, out: list[Effect]) -> None:
        out.extend(Reply(upcall, status) for upcall, _, _ in self._open.values())
        self._open.clear()

    # -- inside ------------------------------------------------------------------------------------

    def _make(self, upcall: GetCredential) -> bytes:
        self._made += 1
        said = wire.encode((self._me, str(upcall.proc), *self._owner, self._made))
        return _MAGIC + said + self._sign(said)

    def _sign(self, said: bytes) -> bytes:
        from _blake2 import blake2b

        return blake2b(said, digest_size=_SIGNATURE, key=self._key[:64]).digest()

    def _validate(self, upcall: ValidateCredential, now: float, out: list[Effect]) -> None:
        shell = _maker(upcall.credential)
        if shell == self._me:
            out.append(_answer(upcall.id, self._look_at(upcall.credential)))
        elif shell is None or shell >= self._directory.shell_count or shell in self._lost:
            out.append(Reply(upcall.id, INVALID))
        else:
            seconds = timeout(upcall.directives, PATIENCE)
            self._tokens = (self._tokens + 1) & 0xFFFFFFFF
            self._open[self._tokens] = upcall.id, shell, None if seconds is None else now + seconds
            block = ((self._me, upcall.credential),)
            out.append(Send(shell, encode(Message(Tag.CHECK, 0, self._tokens, NO_DIGEST, 0, block))))

    def _look_at(self, credential: bytes) -> tuple[int, int] | None:
        """Return the owner that a credential of this shell's states; None where this shell has not made it."""
        if _maker(credential) != self._me:
            return None
        said, signature = credential[len(_MAGIC) : -_SIGNATURE], credential[-_SIGNATURE:]
        from _operator import _compare_digest

        if not _compare_digest(self._sign(said), signature):
            return None
        _, _, user, group, _ = wire.decode(said)
        return user, group


def _maker(credential: bytes) -> int | None:
    """Return the shell that a token says it is of."""
    if not credential.startswith(_MAGIC) or len(credential) <= len(_MAGIC) + _SIGNATURE:
        return None
    try:
        said: Any = wire.decode(credential[len(_MAGIC) : -_SIGNATURE])
    except wire.WireError:
        return None
    kinds = [int, str, int, int, int]
    return said[0] if type(said) is tuple and list(map(type, said)) == kinds and said[0] >= 0 else None


def owner_infos(user: int, group: int) -> Infos:
    """Return what is said of a valid credential's owner."""
    return Info(attributes.USERID, user, DataType.UINT32), Info(attributes.GRPID, group, DataType.UINT32)


def _answer(upcall: int, ids: tuple[int, int] | None) -> Reply:
    return Reply(upcall, INVALID) if ids is None else Reply(upcall, int(Status.SUCCESS), owner_infos(*ids))


def _are_ids(ids: Any) -> bool:
    return type(ids) is tuple and list(map(type, ids)) == [int, int] and all(0 <= each < 1 << 32 for each in ids)
