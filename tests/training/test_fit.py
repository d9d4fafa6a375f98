"""The training loop: one process, from the first step to a resume."""

import multiprocessing
import os
import random
import signal
import time
from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from toy_training import (
    Growing,
    Noise,
    Pair,
    Scripted,
    plain_labels,
    save_until_killed,
    seeded,
    trained,
)

from medistill.errors import UserError
from medistill.training.checkpoint import load_checkpoint, save_checkpoint
from medistill.training.fit import NonFiniteLoss, fit
from medistill.training.optimizers import build_optimizer, cosine

noisy_pair = partial(Pair, dropout=0.5)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return list(one) == list(other) and all(
        torch.equal(one[name], other[name])
        if torch.is_tensor(one[name])
        else one[name] == other[name]
        for name in one
    )


def checkpoint_after(step: int, path, build, **settings):
    """Train in part, save, and throw everything else away."""
    method = seeded(build)
    held = build_optimizer(
        settings.pop("optimizer", "sgd"),
        method.parameters(),
        learning_rate=0.05,
        weight_decay=0.01,
        gradient_clip=settings.pop("gradient_clip", None),
    )
    for done in fit(method, Noise(), held, epochs=2, **settings):
        if done.step == step:
            save_checkpoint(path, done.checkpoint())
            break
    return load_checkpoint(path)


def test_the_steps_say_where_they_are():
    steps = []
    trained(seeded(Pair), Noise(), on_step=steps.append, schedule=cosine)
    assert [(s.epoch, s.step, s.steps, s.end_of_epoch) for s in steps] == [
        (0, 1, 6, False),
        (0, 2, 6, False),
        (0, 3, 6, True),
        (1, 4, 6, False),
        (1, 5, 6, False),
        (1, 6, 6, True),
    ]
    assert_close([s.progress for s in steps], [i / 6 for i in range(6)])
    assert_close([s.learning_rate for s in steps], [0.05 * cosine(i, 6) for i in range(6)])
    assert all(set(s.losses) == {"labels", "geometry"} and s.seconds > 0 for s in steps)


def test_training_lowers_the_losses():
    steps = []
    trained(seeded(Pair), Noise(steps=1), epochs=40, on_step=steps.append)
    assert steps[-1].losses["labels"] < 0.7 * steps[0].losses["labels"]


def test_a_caller_may_stop_at_any_step():
    method, loader = seeded(Pair), Noise()
    optimizer = build_optimizer("sgd", method.parameters(), learning_rate=0.1)
    for step in fit(method, loader, optimizer, epochs=9):
        if step.step == 2:
            break
    assert loader.asked == [0]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_trains_and_keeps_weights_in_fp32(precision):
    steps = []
    method = trained(seeded(Pair), Noise(), epochs=6, precision=precision, on_step=steps.append)
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert steps[-1].losses["labels"] < steps[0].losses["labels"]


def test_what_the_caller_does_between_steps_changes_nothing():
    def meddle(step) -> None:
        torch.rand(3), random.random(), np.random.random()
        meddled.eval()

    undisturbed = trained(seeded(noisy_pair), Noise())
    meddled = seeded(noisy_pair)
    assert same(trained(meddled, Noise(), on_step=meddle), undisturbed)


@pytest.mark.parametrize("step", [1, 3, 4])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_resumed_training_equals_one_that_never_stopped(tmp_path, step, optimizer):
    settings = {"optimizer": optimizer, "schedule": cosine, "gradient_clip": 1.0}
    whole = trained(seeded(noisy_pair), Noise(), **settings)
    checkpoint = checkpoint_after(step, tmp_path / "c.pt", noisy_pair, **settings)
    resumed = trained(seeded(noisy_pair, seed=9), Noise(), resume=checkpoint, **settings)
    assert same(resumed, whole)


def test_a_resumed_training_in_fp16_keeps_its_scale(tmp_path):
    whole = trained(seeded(Pair), Noise(), precision="fp16")
    checkpoint = checkpoint_after(2, tmp_path / "c.pt", Pair, precision="fp16")
    assert same(trained(seeded(Pair), Noise(), resume=checkpoint, precision="fp16"), whole)


def test_a_resume_reads_only_the_epochs_that_are_left(tmp_path):
    checkpoint = checkpoint_after(4, tmp_path / "c.pt", Pair)
    loader, steps = Noise(), []
    trained(seeded(Pair), loader, resume=checkpoint, on_step=steps.append)
    assert loader.asked == [1]
    assert [step.step for step in steps] == [5, 6]


def test_a_finished_training_has_nothing_left_to_do(tmp_path):
    checkpoint = checkpoint_after(6, tmp_path / "c.pt", Pair)
    method, loader, steps = seeded(Pair), Noise(), []
    trained(method, loader, resume=checkpoint, on_step=steps.append)
    assert not steps and not loader.asked


@pytest.mark.parametrize("step", [2, 4, 5])
def test_a_method_that_changes_its_shapes_resumes_before_and_after(tmp_path, step):
    whole = trained(seeded(Growing), Noise(), optimizer="adamw")
    checkpoint = checkpoint_after(step, tmp_path / "c.pt", Growing, optimizer="adamw")
    resumed = trained(seeded(Growing), Noise(), optimizer="adamw", resume=checkpoint)
    assert [tuple(expert.shape) for expert in resumed.experts] == [(3, 1), (3, 2)]
    assert same(resumed, whole)


def test_new_parameters_learn_from_the_step_in_which_they_come():
    seen = []
    method = seeded(Growing)
    trained(method, Noise(), on_step=lambda s: seen.append(method.experts[0].detach().clone()))
    assert seen[3].shape == (3, 1) and not torch.equal(seen[3], torch.full((3, 1), 0.1))


def test_the_optimiser_holds_only_what_the_method_still_has():
    method = seeded(Growing)
    optimizer = build_optimizer("adamw", method.parameters(), learning_rate=0.1)
    steps = iter(fit(method, Noise(), optimizer, epochs=2))
    for _ in range(3):
        next(steps)
    assert {int(state["step"]) for state in optimizer.state.values()} == {3}
    next(steps)
    assert optimizer.param_groups[0]["params"] == list(method.parameters())
    ages = [int(optimizer.state[parameter]["step"]) for parameter in method.parameters()]
    assert ages == [4, 4, 1, 1]


def test_parameters_without_a_gradient_are_not_even_decayed():
    method = trained(Scripted(plain_labels), Noise(), optimizer="adamw")
    assert torch.equal(method.weights["unused"], torch.ones(2))
    assert not torch.equal(method.weights["used"], torch.ones(2))


def spoiled(weights, batch, progress):
    bad = float("nan") if progress >= 0.5 else 1.0
    total = weights["used"].square().sum()
    return {"labels": total, "logits": bad * total, "geometry": bad * total}


def test_a_bad_loss_names_the_first_term_and_leaves_the_weights():
    method, seen = Scripted(spoiled), []
    with pytest.raises(
        NonFiniteLoss, match=r"loss 'logits', nan, in epoch 1, after 3 steps"
    ) as caught:
        trained(method, Noise(), on_step=lambda s: seen.append(method.weights["used"].clone()))
    assert (caught.value.epoch, caught.value.step, len(seen)) == (1, 3, 3)
    assert torch.equal(method.weights["used"], seen[-1])
    assert "\n" not in str(caught.value)


def spoiled_gradient(weights, batch, progress):
    shifted = weights["used"] - (1.0 if progress >= 0.5 else 0.0) * weights["used"].detach()
    return {"labels": shifted.square().sum().sqrt()}  # at zero its slope is NaN, its value is not


def test_a_bad_gradient_leaves_the_weights_where_gradients_are_clipped():
    method, seen = Scripted(spoiled_gradient), []
    with pytest.raises(NonFiniteLoss, match=r"gradient in epoch 1, after 3 steps"):
        trained(
            method,
            Noise(),
            gradient_clip=1.0,
            on_step=lambda s: seen.append(method.weights["used"].clone()),
        )
    assert torch.equal(method.weights["used"], seen[-1])


def test_fp16_skips_a_step_whose_gradients_overflow():
    def steep(weights, batch, progress):
        return {"labels": (1e36 if progress == 0 else 1.0) * weights["used"].square().sum()}

    method, seen = Scripted(steep), []
    trained(
        method,
        Noise(),
        precision="fp16",
        gradient_clip=1.0,
        on_step=lambda s: seen.append(method.weights["used"].clone()),
    )
    assert torch.equal(seen[0], torch.ones(2)) and not torch.equal(seen[1], seen[0])


def test_a_checkpoint_of_another_method_is_refused_in_one_line(tmp_path):
    checkpoint = checkpoint_after(1, tmp_path / "c.pt", Growing)
    with pytest.raises(UserError, match=r"does not fit Pair.*Resume with the recipe") as caught:
        trained(seeded(Pair), Noise(), resume=checkpoint)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_other_data_is_refused_in_one_line(tmp_path):
    checkpoint = checkpoint_after(1, tmp_path / "c.pt", Pair)
    with pytest.raises(UserError, match="3 steps in an epoch, the data now gives 4"):
        trained(seeded(Pair), Noise(steps=4), resume=checkpoint)


def test_a_loader_that_ends_early_is_a_mistake():
    class Short(Noise):
        def __len__(self) -> int:
            return self.steps + 1

    with pytest.raises(ValueError, match="shorter"):
        trained(seeded(Pair), Short())


def test_a_killed_process_leaves_a_checkpoint_that_resumes_bit_for_bit(tmp_path):
    path = tmp_path / "last.pt"
    process = multiprocessing.get_context("spawn").Process(target=save_until_killed, args=(path,))
    process.start()
    deadline = time.monotonic() + 120
    while not path.exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    checkpoint = load_checkpoint(path)
    # As many steps as it came to, and two more.
    epochs, target = 1000, checkpoint.step + 2
    assert same(*(run_until(target, epochs, resume) for resume in (None, checkpoint)))


def run_until(target: int, epochs: int, resume) -> torch.nn.Module:
    method = seeded(noisy_pair)
    optimizer = build_optimizer("adamw", method.parameters(), learning_rate=0.05, weight_decay=0.01)
    for step in fit(method, Noise(), optimizer, epochs=epochs, resume=resume):
        if step.step == target:
            break
    return method
