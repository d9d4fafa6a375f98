"""What a teacher says, asked once for each sample and view, and kept on disk."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from medistill.models.caching import FeatureCache, build_cache, plan_cache
from medistill.runs.console import Console
from medistill.types import Batch, Output


@dataclass(frozen=True)
class Questions:
    """What a teacher is asked about.

    Args:
        batches: Makes them anew, on the teacher's device, from the first.
        rows: How many pairs of sample and view they name.
        samples: Of the whole data, whether the batches name them or not.
        views: Of each sample, likewise.
        per: The setting by which their number grows.
    """

    batches: Callable[[], Iterable[Batch]]
    rows: int
    samples: int
    views: int
    per: str = "data.views"


def kept_answers(
    teacher: Callable[[Batch], Output],
    asked: Questions,
    *,
    facts: object,
    store: Path,
    console: Console,
) -> FeatureCache:
    """The finished cache of a teacher's answers; what a run left unfinished is taken up.

    Args:
        teacher: Frozen.
        asked: What about.
        facts: All that decides the answers; their text names the cache.
        store: Folder of the data's store.
        console: Told first what it will take, then shown the progress.

    Raises:
        UserError: The disk has no room for it.
    """
    key = sha256(repr(facts).encode()).hexdigest()
    folder = store.expanduser() / "teachers" / key[:32]
    if not folder.is_dir():
        example = next(iter(asked.batches()))
        plan = plan_cache(teacher, example, rows=asked.rows, folder=folder, per=asked.per)
        console.say(str(plan))
        plan.refuse_over_free_disk()
    with console.track("teacher", asked.rows) as advance:
        return build_cache(
            teacher,
            asked.batches(),
            samples=asked.samples,
            views=asked.views,
            folder=folder,
            key=key,
            rows=asked.rows,
            on_progress=lambda done, _: advance(done, ""),
        )
