"""What only a scheduler can answer: queues, and allocations other than the job's own. Standard 4.2, section 5.5.

`query.py` has the carrier asked (`Enquire`), which under Flux asks its job manager, and answers with the text that
comes back. Where nobody schedules, as on a single machine, these keys are no keys of this host's.
"""

from __future__ import annotations

from fluxpmix.pmix import attributes
from fluxpmix.pmix.attributes import Attribute
from fluxpmix.pmix.types import QueryItem, find

# Each key, and the qualifiers that say what is meant: the job's own queue or allocation, where none is given.
KEYS: dict[Attribute, tuple[Attribute, ...]] = {
    attributes.QUERY_QUEUE_LIST: (),
    attributes.QUERY_QUEUE_STATUS: (attributes.ALLOC_QUEUE,),
    attributes.QUERY_ALLOC_STATUS: (attributes.ALLOC_ID, attributes.ALLOC_REQ_ID),
}
_BY_NAME = {str(key): qualifiers for key, qualifiers in KEYS.items()}


def questions(item: QueryItem) -> list[tuple[str, str]]:
    """Return what the scheduler is to be asked: keys, and what each is about ("": of the job itself)."""
    return [(key, _subject(key, item)) for key in item.keys if key in _BY_NAME]


def _subject(key: str, item: QueryItem) -> str:
    given = (find(item.qualifiers, qualifier) for qualifier in _BY_NAME[key])
    return next((text for text in given if isinstance(text, str)), "")
