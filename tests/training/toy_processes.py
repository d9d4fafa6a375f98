"""What two processes do together, for the tests to compare with one; each leaves its results."""

import warnings
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from toy_tasks import BUILDS, STEPS, Mixed
from toy_training import (
    Growing,
    Noise,
    Pair,
    PrecisePair,
    Scripted,
    Surgery,
    contrasted,
    seeded,
    trained,
)

from medistill.errors import UserError
from medistill.training.batch_norm import SynchronisedBatchNorm
from medistill.training.checkpoint import load_checkpoint, save_checkpoint
from medistill.training.distributed import (
    average,
    barrier,
    broadcast_object,
    gathered,
    gathered_objects,
    main_process,
    rank,
    world,
)
from medistill.training.fit import NonFiniteLoss
from medistill.types import Batch

WORLD = 2


def work(rank: int, folder: Path) -> None:
    """Run all scenarios in one of the processes."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), WORLD)
    timeout = timedelta(seconds=60)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD, timeout=timeout)
    results = {name: scenario(folder) for name, scenario in SCENARIOS.items()}
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


def share(**settings: Any) -> Noise:
    """This process's share of the data."""
    return Noise(rank=rank(), world=world(), **settings)


def words(folder: Path) -> dict[str, Any]:
    """The small words of `distributed`."""
    rows = np.full((rank() + 1, 2), rank())
    tensor = torch.full((2, 3), float(rank()))
    average([tensor, torch.zeros(1)])
    barrier()
    return {
        "rank": rank(),
        "world": world(),
        "main": main_process(),
        "broadcast": broadcast_object({"from": rank()}),
        "objects": gathered_objects(str(rank())),
        "gathered": gathered(rows).tolist(),
        "average": tensor,
    }


def weights(
    build: Any, optimizer: str = "sgd", loader: type[Noise] = Noise, **settings: Any
) -> Any:
    """The state of a method after training on a shared batch, and the logged losses."""

    def scenario(folder: Path) -> dict[str, Any]:
        steps: list[dict[str, float]] = []
        # Another seed in each process: the first process's weights must reach the other.
        method = seeded(build, seed=rank())
        mine = loader(rank=rank(), world=world(), **settings)
        trained(method, mine, optimizer=optimizer, on_step=lambda s: steps.append(s.losses))
        return {"state": method.state_dict(), "losses": steps}

    return scenario


def some_used(held: nn.ParameterDict, batch: Batch, progress: float) -> dict[str, Tensor]:
    """One weight that all use, one that the second process uses, one that nobody uses."""
    loss = F.mse_loss(held["used"], batch.images.new_zeros(2))
    if rank() == 1:
        loss = loss + held["sometimes"].sum()
    return {"labels": loss}


def unused(folder: Path) -> dict[str, Any]:
    """Gradients of parameters that not every process uses."""
    method = Scripted(some_used)
    trained(method, share(), optimizer="adamw")
    return {name: (p.detach(), p.grad) for name, p in method.weights.items()}


def spoiled(held: nn.ParameterDict, batch: Batch, progress: float) -> dict[str, Tensor]:
    """A loss that turns bad in one process alone."""
    bad = float("nan") if rank() == 1 and progress >= 0.5 else 1.0
    return {"labels": bad * held["used"].sum()}


def stopped(folder: Path) -> str:
    """What a process says of a loss that is bad in another."""
    try:
        trained(Scripted(spoiled), share())
    except NonFiniteLoss as error:
        return str(error)
    return "went on"


def resumed(folder: Path) -> dict[str, Any]:
    """A training with random numbers of each process, whole and resumed."""
    path = folder / "resume.pt"
    build = partial(Pair, dropout=0.5)

    def save(step: Any) -> None:
        if step.step == 4:
            checkpoint = step.checkpoint()
            if main_process():
                save_checkpoint(path, checkpoint)

    whole = trained(seeded(build, seed=rank()), share(), on_step=save)
    barrier()
    again = trained(seeded(build, seed=5), share(), resume=load_checkpoint(path))
    return {"whole": whole.state_dict(), "resumed": again.state_dict()}


def refused(folder: Path) -> str:
    """A checkpoint that fits no method stops every process."""
    try:
        trained(seeded(Growing), share(), resume=load_checkpoint(folder / "resume.pt"))
    except UserError as error:
        return str(error)
    return "went on"


def layers(folder: Path) -> dict[str, Any]:
    """Batch norm of every dimension and precision, forward and backward, on unequal shares."""
    return {name: layer_results(name) for name in LAYERS}


def layer_results(name: str) -> dict[str, Tensor]:
    """One layer on this process's rows: what comes out, and the gradients of the sum."""
    build, images, split = LAYERS[name]
    layer = build()
    ends = [0, split, len(images)] if world() == WORLD else [0, len(images)]
    rows = images[ends[rank()] : ends[rank() + 1]].clone().requires_grad_()
    with SynchronisedBatchNorm() if world() == WORLD else torch.enable_grad():
        output = layer(rows)
    (
        output.float() * torch.linspace(-1, 1, images[0].numel()).view(images[0].shape)
    ).sum().backward()
    gradients = [p.grad for p in layer.parameters()]
    totals = torch.cat([g.flatten() for g in gradients]) if gradients else torch.zeros(1)
    if world() == WORLD:
        dist.all_reduce(totals)
    layer.eval()
    with SynchronisedBatchNorm() if world() == WORLD else torch.enable_grad():
        judged = layer(rows).detach()
    return {
        "output": output.detach(),
        "gradient": rows.grad,
        "affine": totals,
        "judged": judged,
        "buffers": torch.cat([b.float().flatten() for b in layer.buffers()]),
    }


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows far from zero, where a careless variance loses its digits."""
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(0)) + 30).to(dtype)


class NormActivation(nn.BatchNorm2d):
    """A library's own layer, such as timm's `BatchNormAct2d`: convert it, and the ReLU is lost."""

    def forward(self, images: Tensor) -> Tensor:
        state = (self.running_mean, self.running_var)
        return F.batch_norm(images, *state, self.weight, self.bias, self.training).relu()


LAYERS = {
    "1d": (partial(nn.BatchNorm1d, 3), noise(8, 3), 4),
    "2d": (partial(nn.BatchNorm2d, 3), noise(8, 3, 4, 5), 4),
    "3d": (partial(nn.BatchNorm3d, 3), noise(4, 3, 2, 4, 5), 2),
    "unequal": (partial(nn.BatchNorm2d, 3), noise(7, 3, 4, 5), 5),
    "empty": (partial(nn.BatchNorm2d, 3), noise(5, 3, 4, 5), 5),
    "plain": (partial(nn.BatchNorm2d, 3, affine=False), noise(8, 3, 4, 5), 4),
    "forgetful": (partial(nn.BatchNorm2d, 3, momentum=0.7, eps=1e-2), noise(8, 3, 4, 5), 3),
    "subclass": (partial(NormActivation, 3), noise(8, 3, 4, 5), 4),
    "bf16": (partial(nn.BatchNorm2d, 3), noise(8, 3, 4, 5, dtype=torch.bfloat16), 4),
    "double": (partial(nn.BatchNorm2d, 3, dtype=torch.float64), noise(8, 3, 4, 5).double(), 4),
}

SCENARIOS = {
    "words": words,
    "layers": layers,
    "pair": weights(Pair),
    "adamw": weights(PrecisePair, "adamw"),
    "unequal": weights(Pair, batch_size=7),
    "growing": weights(Growing, "adamw"),
    "surgery": weights(Surgery),
    "memory": weights(contrasted, batch_size=7),
    **{name: weights(build, loader=Mixed, steps=STEPS[name]) for name, build in BUILDS.items()},
    "unused": unused,
    "stopped": stopped,
    "resumed": resumed,
    "refused": refused,
}
