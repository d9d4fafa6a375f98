"""Experts swapped into a network, and folded out of it: an inverse pair."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.lowrank.convolution import PLAIN, Convolution, ExpertConvolution
from medistill.models.lowrank.factors import Expert, Scaling
from medistill.models.lowrank.geometry import Geometry, geometry_of
from medistill.models.lowrank.routing import Routing


class Decomposed(nn.Module):
    """A network, shared by all tasks, and an expert for each: F_s and E_t.

    Call it inside `with decomposed.routing.to(tasks):`.

    Args:
        network: Copied.
        multiples: By the name of each convolution that gets experts, what their ranks are
            multiplied by there.
        scaling: Of the experts.

    Attributes:
        shared: The network, whose weights all tasks train.
        experts: By task; each trained by its own task alone.
        routing: Says which samples take which.
    """

    seed: Tensor

    def __init__(self, network: nn.Module, multiples: Mapping[str, int], scaling: Scaling) -> None:
        super().__init__()
        self.experts = nn.ModuleList()
        self.routing = Routing(self.experts)
        self.scaling = scaling
        # One seed in all processes and after a resume: experts may be made anew in mid-training.
        self.register_buffer("seed", torch.randint(2**31, ()))
        routed, self.layers = {}, tuple[Geometry, ...]()
        for place, (name, multiple) in enumerate(multiples.items()):
            conv = cast(Convolution, network.get_submodule(name))
            self.layers += (geometry_of(conv, multiple),)
            own = copy.deepcopy(conv)
            routed[id(conv)] = ExpertConvolution(own, place, self.layers[-1], self.routing)
        self.shared = copy.deepcopy(network, routed)

    @property
    def ranks(self) -> list[int]:
        """Of each expert."""
        return [cast(Expert, one).rank for one in self.experts]

    def renew(self, ranks: Sequence[int]) -> None:
        """New experts, of these ranks, that change nothing yet."""
        generator = torch.Generator().manual_seed(int(self.seed))
        like = next(self.shared.parameters())
        del self.experts[:]
        for rank in ranks:
            one = Expert(self.layers, rank=rank, scaling=self.scaling, generator=generator)
            self.experts.append(one.to(like.device, like.dtype))

    def forward(self, *inputs: Any) -> Any:
        """What the shared network gives, each sample through its own expert.

        The batch is sorted by task here, once for all layers; every tensor that goes in, or comes
        out, and is as long as the batch belongs to its samples.
        """
        route = self.routing.route
        if route is None or route.order is None:
            return self.shared(*inputs)
        with self.routing.sorted(route):
            found = self.shared(*_taken(inputs, route.order))
        # The inverse of a permutation is its argsort.
        return _taken(found, route.order.argsort())

    def get_extra_state(self) -> dict[str, list[int]]:
        """The ranks, which may have changed since construction."""
        return {"ranks": self.ranks}

    def set_extra_state(self, state: Mapping[str, list[int]]) -> None:
        """Experts of those ranks, before their numbers are read."""
        # Of the same ranks the parameters stay, for an optimiser may hold them already.
        if state["ranks"] != self.ranks:
            self.renew(state["ranks"])


def with_experts(
    network: nn.Module,
    ranks: Sequence[int],
    *,
    alpha: float = 16.0,
    scaling: Literal["alpha_over_r", "fixed"] = "alpha_over_r",
    multiples: Mapping[str, int] | None = None,
) -> Decomposed:
    """A copy of a network with an expert for each rank; see `Decomposed`.

    Args:
        network: Left as it is.
        ranks: Of each expert.
        alpha: An expert of rank r adds alpha / r times the product of its factors.
        scaling: Or, whatever the rank, alpha / 8 times: `fixed`.
        multiples: By the name of each convolution that gets experts, what their ranks are
            multiplied by there; by default every convolution with one group, and 1.

    Raises:
        UserError: The network has no place for experts.
    """
    found = _places(network)
    if multiples is None:
        multiples = dict.fromkeys(found, 1)
    foreign = [name for name in multiples if name not in found]
    if foreign:
        raise UserError(
            f"{foreign[0]} is no convolution with one group of {type(network).__name__}, and takes "
            f"no expert. Choose among {', '.join(found)}."
        )
    decomposed = Decomposed(network, multiples, Scaling(alpha, scaling))
    decomposed.renew(ranks)
    return decomposed


def expert(decomposed: Decomposed, place: int | None) -> nn.Module:
    """The inverse: a plain network with one expert folded into its weights.

    Args:
        decomposed: Left as it is.
        place: Whose expert; None for the shared network alone.
    """
    chosen = None if place is None else cast(Expert, decomposed.experts[place])
    # deepcopy puts each folded layer wherever the network has the routed one, shared ones too.
    layers = [m for m in decomposed.shared.modules() if isinstance(m, ExpertConvolution)]
    return copy.deepcopy(decomposed.shared, {id(layer): layer.folded(chosen) for layer in layers})


def _places(network: nn.Module) -> list[str]:
    """Names of the convolutions that experts fit into, of which there must be one."""
    found = [n for n, m in network.named_modules() if isinstance(m, PLAIN) and m.groups == 1]
    if not found:
        raise UserError(
            f"{type(network).__name__} has no convolution with one group, and so no place for "
            "low-rank experts. Choose a convolutional student."
        )
    return found


def _taken(nested: Any, order: Tensor) -> Any:
    """Tensors of samples in a new order, wherever they stand in tuples, lists and mappings."""
    if isinstance(nested, Tensor):
        return nested[order.to(nested.device)] if nested.shape[:1] == order.shape else nested
    if isinstance(nested, Mapping):
        return {name: _taken(value, order) for name, value in nested.items()}
    if isinstance(nested, tuple | list):
        taken = [_taken(value, order) for value in nested]
        return type(nested)(*taken) if hasattr(nested, "_fields") else type(nested)(taken)
    return nested
