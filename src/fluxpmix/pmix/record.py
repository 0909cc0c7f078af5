"""Frozen, slotted data classes and named tuples that cost nothing to define.

Every floor's plain data derives from `Record`. `dataclasses` would do the same, but importing it and
having it compile some fifty classes takes 25 ms, more than starting a PMIx server does, and everybody
would wait for it at every launch. A type checker sees a frozen data class (PEP 681).

`typing` is as dear (8 ms, it brings `re`), so nothing that runs at start imports it: a module says
`TYPE_CHECKING = False`, which type checkers take for true, and imports what only they read below that.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from typing import NamedTuple as NamedTuple

    from typing_extensions import dataclass_transform
else:
    from _operator import itemgetter

    def dataclass_transform(**_options):
        return lambda cls: cls

    _new = tuple.__new__
    # What makes a named tuple of so many fields, but for their names.
    _MAKERS = {
        2: lambda _cls, a, b: _new(_cls, (a, b)),
        3: lambda _cls, a, b, c: _new(_cls, (a, b, c)),
        4: lambda _cls, a, b, c, d: _new(_cls, (a, b, c, d)),
    }

    class _NamedTupleType(type):
        """Turns a class's annotations into the fields of a named tuple."""

        def __new__(mcs, name, bases, namespace):
            if not bases:
                return super().__new__(mcs, name, (tuple,), namespace)
            fields = tuple(namespace.get("__annotations__", ()))
            defaults = tuple(namespace.pop(field) for field in fields if field in namespace)
            template = _MAKERS[len(fields)]
            code = template.__code__.replace(co_varnames=("_cls", *fields))  # to compile one takes ten times as long
            make = type(template)(code, globals(), "__new__", defaults or None)
            namespace |= {field: property(itemgetter(at)) for at, field in enumerate(fields)}
            namespace |= {"__new__": make, "__slots__": (), "_fields": fields, "__match_args__": fields}
            return super().__new__(mcs, name, bases, namespace)

    class NamedTuple(metaclass=_NamedTupleType):
        """As `typing.NamedTuple`."""

        __slots__ = ()

        def __repr__(self):
            shown = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({shown})"

        def __getnewargs__(self):
            return tuple(self)


_MANY = 200  # records of one class


@dataclass_transform(frozen_default=True)
class _RecordType(type):
    """Turns a class's annotations into slots and its assigned values into defaults."""

    _fields: tuple[str, ...]
    _defaults: dict[str, Any]
    _made: int  # how many, until it is worth while to compile what makes one

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _RecordType:
        own = tuple(namespace.get("__annotations__", ()))
        inherited = [base for base in bases if isinstance(base, _RecordType)]
        defaults = {key: value for base in inherited for key, value in base._defaults.items()}
        defaults.update((field, namespace.pop(field)) for field in own if field in namespace)
        namespace["__slots__"] = (*own, *namespace.pop("__extra_slots__", ()))
        namespace["__match_args__"] = fields = (*(f for base in inherited for f in base._fields), *own)
        cls = super().__new__(mcs, name, bases, namespace)
        cls._fields = fields
        cls._defaults = defaults
        cls._made = 0
        if any(base._made >= _MANY for base in inherited):
            cls.__init__ = Record.__init__  # type: ignore[misc]  # not that of a base with other fields
        return cls


class Record(metaclass=_RecordType):
    """Base of plain data: fields are the annotations, set once, compared and shown by value.

    A class that must check its fields does so in `__post_init__`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        fields = cls._fields
        put = object.__setattr__
        given = len(args)
        cls._made += 1
        if cls._made == _MANY:
            _compile(cls)
        if given > len(fields):
            raise TypeError(f"{type(self).__name__} takes {len(fields)} values, {given} were given")
        for name, value in zip(fields, args):  # noqa: B905
            put(self, name, value)
        if given < len(fields):
            defaults = type(self)._defaults
            for name in fields[given:]:
                if name in kwargs:
                    put(self, name, kwargs.pop(name))
                elif name in defaults:
                    put(self, name, defaults[name])
                else:
                    raise TypeError(f"{type(self).__name__} needs a value for {name!r}")
        if kwargs:
            raise TypeError(f"{type(self).__name__} has no use for {', '.join(kwargs)}")
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the fields; raise ValueError."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be deleted")

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in type(self)._fields])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self)._fields)
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), self._values()


def _compile(cls: _RecordType) -> None:
    """Give a class that is much used a constructor of its own, three times as fast as the one for all.

    Compiling one takes 0.1 ms: too much at the start for those of which there are few.
    """
    if "__init__" in cls.__dict__ or cls.__subclasses__():
        return
    names: dict[str, Any] = {f"put_{field}": getattr(cls, field).__set__ for field in cls._fields}
    names.update({f"default_{field}": value for field, value in cls._defaults.items()})
    takes = [f"{field}=default_{field}" if field in cls._defaults else field for field in cls._fields]
    body = [f" put_{field}(self, {field})" for field in cls._fields]
    if cls.__post_init__ is not Record.__post_init__:  # type: ignore[attr-defined]
        body.append(" self.__post_init__()")
    exec("\n".join([f"def __init__({', '.join(['self', *takes])}):", *body]), names)
    cls.__init__ = names["__init__"]  # type: ignore[misc]


def replace(record: Any, **changes: Any) -> Any:
    """Return a copy of `record` with some fields changed."""
    values = {name: getattr(record, name) for name in type(record)._fields}
    return type(record)(**{**values, **changes})
