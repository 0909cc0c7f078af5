"""Enumerations that cost nothing to define: `Enum`, `IntEnum` and `IntFlag`, as the standard library's.

`record.py` says why: `enum` is loaded and makes the five hundred members of ours in 5 ms, of the 20 that a job
shell has. A type checker sees the standard library's. What these do not have (`auto`, `unique`, members with
methods of their own) is not used here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from enum import Enum as Enum
    from enum import IntEnum as IntEnum
    from enum import IntFlag as IntFlag
else:

    class _EnumType(type):
        """Turns a class's public constants into its members: instances, found by name or by value."""

        def __new__(mcs, name, bases, namespace):
            given = {
                key: namespace.pop(key)
                for key, value in list(namespace.items())
                if key[0] != "_" and isinstance(value, (int, str))
            }
            cls = super().__new__(mcs, name, bases, namespace)
            cls._value2member_map_ = found = {}
            cls.__members__ = members = {}
            for key, value in given.items():
                member = found.get(value)  # two names of one value are one member, called by the first
                if member is None:
                    member = found[value] = cls._make(key, value)
                members[key] = member
                type.__setattr__(cls, key, member)
            return cls

        def __call__(cls, value):
            member = cls._value2member_map_.get(value)
            return cls._missing(value) if member is None else member

        def __getitem__(cls, name):
            return cls.__members__[name]

        def __contains__(cls, value):
            return isinstance(value, cls) or value in cls._value2member_map_

        def __iter__(cls):
            return iter(cls._value2member_map_.values())

        def __len__(cls):
            return len(cls._value2member_map_)

    class Enum(metaclass=_EnumType):
        """Named constants."""

        @classmethod
        def _make(cls, name, value):
            member = object.__new__(cls)
            member.name = name
            member.value = value
            return member

        @classmethod
        def _missing(cls, value):
            raise ValueError(f"{value!r} is not a valid {cls.__name__}")

        def __repr__(self):
            return f"<{type(self).__name__}.{self.name}: {self.value!r}>"

        def __str__(self):
            return f"{type(self).__name__}.{self.name}"

        def __reduce__(self):
            return type(self), (self.value,)

        def __copy__(self):
            return self

        def __deepcopy__(self, _memo):
            return self

    class IntEnum(int, Enum):
        """Named constants that are integers."""

        @classmethod
        def _make(cls, name, value):
            member = int.__new__(cls, value)
            member.name = name
            return member

        value = property(int)
        __repr__ = Enum.__repr__
        __str__ = int.__repr__
        __format__ = int.__format__

    class IntFlag(IntEnum):
        """Named bits, which make others of the class when they are combined."""

        @classmethod
        def _missing(cls, value):
            names = [each.name for each in cls if each and each & value == each]
            return cls._make("|".join(names) or None, value)

        def __or__(self, other):
            return type(self)(int(self) | int(other))

        def __and__(self, other):
            return type(self)(int(self) & int(other))

        def __xor__(self, other):
            return type(self)(int(self) ^ int(other))

        def __invert__(self):
            return type(self)(sum(set(map(int, type(self)))) & ~int(self))

        def __contains__(self, other):
            return int(other) & int(self) == int(other)

        __ror__, __rand__, __rxor__ = __or__, __and__, __xor__
