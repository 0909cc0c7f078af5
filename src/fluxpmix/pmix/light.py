"""What the start path uses of the standard library's larger modules, without those modules.

`collections`, `functools`, `contextlib` and `signal` load others, `enum` the dearest, and define what nobody here
uses. What is written in C there is imported from where it lives, the rest is defined again. Type checkers see the
standard library. Modules that are loaded only when they are needed import from where everybody does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signal
    from collections.abc import Iterable as Iterable
    from collections.abc import Mapping as Mapping
    from contextlib import contextmanager as contextmanager
    from contextlib import suppress as suppress
    from functools import cache as cache
    from functools import partial as partial
else:
    import _signal as signal  # noqa: F401
    from _collections_abc import Iterable, Mapping  # noqa: F401
    from _functools import partial  # noqa: F401

    def cache(function):
        """Remember what a function has returned for each of its arguments."""
        found = {}

        def remembered(*arguments):
            if arguments not in found:
                found[arguments] = function(*arguments)
            return found[arguments]

        remembered.cache_clear = found.clear
        remembered.__doc__ = function.__doc__
        return remembered

    class suppress:
        """Go on behind the block where it raises one of these."""

        def __init__(self, *exceptions):
            self._exceptions = exceptions

        def __enter__(self):
            return None

        def __exit__(self, kind, _error, _trace):
            return kind is not None and issubclass(kind, self._exceptions)

    def contextmanager(function):
        """Make a context manager of a generator that yields once."""

        def enter(*args, **options):
            return _Generated(function(*args, **options))

        enter.__doc__ = function.__doc__
        return enter

    class _Generated:
        def __init__(self, generator):
            self._generator = generator

        def __enter__(self):
            return next(self._generator)

        def __exit__(self, _kind, error, _trace):
            if error is None:
                next(self._generator, None)
                return False
            try:
                self._generator.throw(error)
            except BaseException as raised:
                if raised is error:
                    return False
                raise
            return True
