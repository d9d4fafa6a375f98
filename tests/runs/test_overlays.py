"""Which images are drawn, whatever was answered."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medistill.runs.overlays import choose


class TestPictures:
    @given(
        st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 2), st.floats(0.4, 1)), min_size=1),
        st.integers(0, 12),
    )
    def test_as_many_as_asked_each_once_and_none_without_a_label(
        self, answers: list[tuple[int, int, float]], count: int
    ) -> None:
        targets = np.array([target for target, _, _ in answers])
        sure = np.zeros((len(answers), 3), np.float32)
        for place, (_, called, how) in enumerate(answers):
            sure[place, called] = how
        chosen = choose(targets, sure, count)
        assert len(chosen) == len(set(chosen)) == min(count, int((targets >= 0).sum()))
        assert (targets[chosen] >= 0).all()
        right = sure.argmax(1)[chosen] == targets[chosen]
        assert not (np.diff(right.astype(int)) > 0).any(), "right ones come first"
