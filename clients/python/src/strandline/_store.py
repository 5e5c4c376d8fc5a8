"""What operations need to know of a store: its name, its field names, whether it knows commands again. Asked for once.

None of it changes while a store lives: a statement that is replaced cannot change these keys.
"""

from dataclasses import dataclass

from . import _given
from . import _json as j
from ._names import Names, names_of
from ._steps import JSON, Operation, Repeat, Request, ask, get, path
from .errors import BadRequest
from .models import StoreConfig, StoreInfo, StreamType


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one store."""

    name: str
    names: Names
    # id.command_id.unique_scope is not none
    knows_commands: bool


class StoreState:
    """A store by its name, or the only one of the node."""

    def __init__(self, name: str | None, patience: float) -> None:
        """Nothing is asked for yet."""
        self.name, self.patience = name, patience
        self._facts: Facts | None = None

    def facts(self) -> Operation[Facts]:
        """The facts."""
        if self._facts is None:
            name = self.name if self.name is not None else (yield from self._only())
            config = StoreConfig.of((yield from get("v1", "stores", name, patience=self.patience)))
            knows = config.keys.get("id.command_id.unique_scope", "none") != "none"
            self._facts = Facts(name, names_of(config.keys), knows)
        return self._facts

    def _only(self) -> Operation[str]:
        names = [store.name for store in (yield from stores(self.patience))]
        if len(names) == 1:
            return names[0]
        sentence = f'name a store, client.store("..."): this node serves {", ".join(names) or "none"}'
        raise BadRequest(sentence, "bad_request", 400, {"stores": names})

    def config(self) -> Operation[StoreConfig]:
        """The statement as it is now."""
        facts = yield from self.facts()
        return StoreConfig.of((yield from get("v1", "stores", facts.name, patience=self.patience)))


def stores(patience: float) -> Operation[list[StoreInfo]]:
    """All stores of the node."""
    answer = yield from get("v1", "stores", patience=patience)
    return [StoreInfo.of(row) for row in j.rows(answer, "stores")]


def stream_types(state: StoreState) -> Operation[list[StreamType]]:
    """Stream types, registered or in use."""
    facts = yield from state.facts()
    row = yield from get("v1", "stores", facts.name, "stream-types", patience=state.patience)
    return [StreamType.of(one) for one in j.rows(row, "stream_types")]


def register(state: StoreState, name: str, buckets: int | None) -> Operation[StreamType]:
    """Registers a stream type."""
    _given.whole(buckets=buckets)
    facts = yield from state.facts()
    route, headers = path("v1", "stores", facts.name, "stream-types"), {"content-type": JSON}
    entry = {"name": name} if buckets is None else {"name": name, "buckets": buckets}
    request = Request("POST", route, Repeat.SAFE, headers=headers, body=j.dump(entry))
    return StreamType.of(j.parse((yield from ask(request, state.patience)).body))
