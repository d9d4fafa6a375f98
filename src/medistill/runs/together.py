"""What the several processes of one run do in turn; without `torchrun` there is but one."""

from collections.abc import Callable
from typing import TypeVar

from medistill.errors import UserError
from medistill.training.distributed import broadcast_object, main_process

T = TypeVar("T")


def main_alone(work: Callable[[], T]) -> T | None:
    """Let the main process work while the others wait; they get None.

    Raises:
        UserError: What stopped the main process stops all of them: nobody waits for ever.
    """
    done: T | None = None
    stopped: UserError | OSError | None = None
    if main_process():
        try:
            done = work()
        except (UserError, OSError) as error:
            stopped = error
    said = broadcast_object(str(stopped) if stopped else None)
    if stopped is not None:
        raise stopped
    if said is not None:
        raise UserError(said)
    return done


def main_first(work: Callable[[], T]) -> T:
    """Let each process work, the others when the main one's stores and caches are there."""
    done = main_alone(work)
    return work() if done is None else done


def agreed(ask: Callable[[], T]) -> T | None:
    """What the main process finds, on every process: they may look at a moving target."""
    return broadcast_object(main_alone(ask))
