"""One convolution of a network whose samples each take the weight of their own expert."""

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from medistill.models.lowrank.algorithms import Work, mixed_weights, mixture
from medistill.models.lowrank.choice import choose
from medistill.models.lowrank.factors import Expert
from medistill.models.lowrank.geometry import Geometry, padded
from medistill.models.lowrank.routing import Route, Routing, Team

Convolution = nn.Conv2d | nn.Conv3d
PLAIN = (nn.Conv2d, nn.Conv3d)  # a subclass may do more than to convolve


class ExpertConvolution(nn.Module):
    """A convolution that gives each sample the weight of its own expert.

    Args:
        conv: With the shared weight.
        place: Of its factors in each expert.
        layer: Its geometry.
        routing: That of the whole network.
    """

    def __init__(self, conv: Convolution, place: int, layer: Geometry, routing: Routing) -> None:
        super().__init__()
        self.conv = conv
        self.place = place
        self.layer = layer
        self.routing = routing

    def forward(self, images: Tensor) -> Tensor:
        """The convolution, of samples in the order of the route.

        Raises:
            RuntimeError: Nobody said which samples take which expert, or sorted them so.
        """
        route = self.routing.route
        if route is None:
            plain: Tensor = self.conv(images)
            return plain
        if route.order is not None or len(images) != route.samples:
            raise RuntimeError(
                f"A convolution met {len(images)} samples, and the tasks of {route.samples} were "
                "told. Call the whole `Decomposed` network, which sorts them, with a row for each."
            )
        run = self._convolved if type(self.conv) in PLAIN else self._by_itself
        return run(images, route)

    @torch.no_grad()
    def folded(self, expert: Expert | None) -> Convolution:
        """A plain convolution with the expert in its weight, or with the shared weight alone."""
        conv = copy.deepcopy(self.conv)
        if expert is not None:
            conv.weight += expert.change(self.place)
        return conv

    def _convolved(self, images: Tensor, route: Route) -> Tensor:
        kind = images.device.type
        if torch.is_autocast_enabled(kind):
            images = images.to(torch.get_autocast_dtype(kind))
        # Cast by hand: autocast knows nothing of the functions that compute here.
        work = self._work(padded(self.conv, images), route)
        with torch.autocast(kind, enabled=False):
            if route.shares is not None:
                return mixture(work, route.shares)
            space = tuple(work.images.shape[2:])
            return choose(self.layer, space, work.teams, images.device)(work)

    def _by_itself(self, images: Tensor, route: Route) -> Tensor:
        """Through the module's own forward, which may change images and weight as it likes."""
        work = self._work(images, route)
        with torch.autocast(images.device.type, enabled=False):
            if route.shares is not None:
                weights = list(mixed_weights(work, route.shares))
            else:
                weights = [work.weight + own for changes in work.changes for own in changes]
        chunks = [samples for team in work.teams for samples in team.chunks]
        if route.shares is not None:
            chunks = [slice(sample, sample + 1) for sample in range(len(images))]
        return torch.cat(
            [
                functional_call(self.conv, {"weight": weight}, images[samples])
                for samples, weight in zip(chunks, weights, strict=True)
            ]
        )

    def _work(self, images: Tensor, route: Route) -> Work:
        conv, factors = self.conv, route.factors[self.place]
        teams: tuple[Team, ...] = route.teams[self.layer.multiple]
        return Work(self.layer, teams, images, conv.weight, conv.bias, factors)
