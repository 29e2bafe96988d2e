"""What a POST writes, in one transaction: the conversation, the generation, or the one that the same key made before."""

from dataclasses import dataclass
from typing import Any

from peewee import DoesNotExist, IntegrityError

from models.conversation import Conversation, conversation_of, touch
from models.database import AWAY, database, read_now, shut_out
from models.dispatch import WAITS, may_go_on
from models.errors import ConversationBusy, IdempotencyMismatch, NotFound
from models.generation import IS_OPEN, Generation, Status, find, find_owned
from models.identifiers import uuid7
from models.open_limit import check_open
from models.prepared import insert, prepared
from models.route import OnProviderBroken, Route, split
from models.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a visitor asks. `body_hash` tells two bodies of one idempotency key apart.

    `conversation` is a name, None for a new one; `parent` the turn of it that this one follows, None for its newest.
    With `sibling_of` it stands beside that turn: in its conversation, after its parent.

    A server asks `direct`: what `models/direct_request.py` stores. It has no conversation, message or visitor, and may name a
    `model`, as provider:model, other than the route's own.
    """

    tenant_id: int
    visitor: str
    conversation: str | None
    message: str
    route_name: str
    route: Route
    idempotency_key: str | None
    body_hash: str
    parent: str | None = None
    sibling_of: str | None = None
    bypass_cache: bool = False
    direct: str | None = None
    model: str | None = None
    on_provider_broken: OnProviderBroken = "keep_partial"
    """What holds where the route does not say."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """`fresh`: this call made the generation; else an earlier one with the same key did.

    `conversation`: its name, "" where there is none.
    """

    generation: Generation
    conversation: str
    fresh: bool


def admit(request: Request, settings: Settings) -> Admitted:
    """Stores a queued generation for `request`.

    Raises IdempotencyMismatch where the key came with another body, NotFound where a turn that is named is not there or not
    the visitor's, ConversationBusy (with `generation_id`) where the conversation's last answer has not ended, RateLimited or
    Overloaded where too many wait or run; then nothing is stored.
    """
    generation_id = uuid7()
    try:
        try:
            return _admit(generation_id, request, settings)
        except (IntegrityError, DoesNotExist):  # another process opened or deleted the conversation meanwhile
            return _admit(generation_id, request, settings)
    except AWAY:
        database.close()
        stored = find(generation_id)
        if stored is None:
            raise
        # It was committed, and the reply was lost.
        return Admitted(stored, stored.conversation.name if stored.conversation else "", fresh=True)


def _admit(generation_id: str, request: Request, settings: Settings) -> Admitted:
    with database.atomic():
        shut_out(f"tenant {request.tenant_id}")
        return find_repeated(request) or _insert(generation_id, request, settings)


def find_repeated(request: Request) -> Admitted | None:
    """What an earlier request with the same idempotency key made. Raises IdempotencyMismatch where its body was another one."""
    if request.idempotency_key is None:
        return None
    found = Generation.get_or_none(
        (Generation.tenant == request.tenant_id)
        & (Generation.visitor == request.visitor)
        & (Generation.idempotency_key == request.idempotency_key)
    )
    if found is None:
        return None
    if found.body_hash != request.body_hash:
        raise IdempotencyMismatch
    conversation_id = found.__data__["conversation"]
    if conversation_id is None:
        return Admitted(found, "", fresh=False)
    conversation = Conversation.get_or_none(Conversation.id == conversation_id)
    if conversation is None or conversation.deleted_at is not None:
        raise NotFound
    return Admitted(found, conversation.name, fresh=False)


def _insert(generation_id: str, request: Request, settings: Settings) -> Admitted:
    if request.direct is not None:
        return Admitted(_create(generation_id, request, settings, read_now()), "", fresh=True)
    conversation, parent = _place(request)
    generation = _create(generation_id, request, settings, conversation.updated_at, conversation, parent)
    return Admitted(generation, conversation.name, fresh=True)


def _create(
    generation_id: str,
    request: Request,
    settings: Settings,
    time: float,
    conversation: Conversation | None = None,
    parent: str | None = None,
) -> Generation:
    check_open(request.tenant_id, request.visitor, settings)
    row = Generation(
        id=generation_id,
        tenant=request.tenant_id,
        visitor=request.visitor,
        conversation=conversation,
        parent=parent,
        message=request.message,
        request=request.direct,
        idempotency_key=request.idempotency_key,
        body_hash=request.body_hash,
        bypass_cache=request.bypass_cache,
        created_at=time,
        status=Status.QUEUED,
        enqueue_at=time + settings.reenqueue_seconds if may_go_on(request.tenant_id, settings) else WAITS,
        **_policy(request, settings, time),
    )
    insert(row)
    return row


def _place(request: Request) -> tuple[Conversation, str | None]:
    """The conversation that the new turn belongs to, updated now, and the turn that it follows.

    Raises NotFound; ConversationBusy where its last answer has not ended.
    """
    if request.sibling_of is not None:
        beside = find_owned(request.sibling_of, request.tenant_id, request.visitor)
        if beside is None or beside.conversation is None:
            raise NotFound
        touch(beside.conversation, read_now())
        _require_free(beside.conversation)
        return beside.conversation, beside.parent
    if request.conversation is None:  # it has no turn yet, and nobody else knows its name
        return conversation_of(request.tenant_id, request.visitor, uuid7(), request.message), None
    conversation = conversation_of(request.tenant_id, request.visitor, request.conversation, request.message)
    parent = _last_turn(conversation) if request.parent is None else _turn(conversation, request.parent)
    _require_free(conversation)
    return conversation, parent


def _turn(conversation: Conversation, turn_id: str) -> str:
    follows = (Generation.id == turn_id) & (Generation.conversation == conversation)
    if not Generation.select().where(follows).exists():
        raise NotFound
    return turn_id


def _require_free(conversation: Conversation) -> None:
    if busy := _open_turn(conversation_id=conversation.id).fetchall():
        raise ConversationBusy(generation_id=busy[0][0])


@prepared
def _open_turn(conversation_id: Any) -> Any:
    return Generation.select(Generation.id).where((Generation.conversation == conversation_id) & IS_OPEN)


def _last_turn(conversation: Conversation) -> str | None:
    found = _newest_turn(conversation_id=conversation.id).fetchall()
    return found[0][0] if found else None


@prepared
def _newest_turn(conversation_id: Any) -> Any:
    of_conversation = Generation.select(Generation.id).where(Generation.conversation == conversation_id)
    return of_conversation.order_by(Generation.created_at.desc()).limit(1)


def _policy(request: Request, settings: Settings, time: float) -> dict[str, object]:
    route = request.route
    provider, model = split(request.model or route.model)
    return {
        "route": request.route_name,
        "route_version": route.version,
        "provider": provider,
        "model": model,
        "on_worker_lost": route.on_worker_lost,
        "on_provider_broken": route.on_provider_broken or request.on_provider_broken,
        "max_calls": route.max_calls or settings.max_calls,
        "max_crashes": route.max_crashes or settings.max_crashes,
        "deadline_at": time + (route.deadline_seconds or settings.deadline_seconds),
        "retention_seconds": settings.retention_seconds,
    }
