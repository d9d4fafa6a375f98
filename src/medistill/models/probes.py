"""A linear probe: how far a frozen teacher's features alone can tell the classes apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.errors import UserError
from medistill.results import replacing

STRENGTHS = tuple(10.0**power for power in range(2, -5, -1))
ITERATIONS = 300
TOLERANCE = 1e-5  # of the largest gradient: logits then agree with scikit-learn's to 1e-2
PATIENCE = 2


@dataclass(frozen=True)
class Probe:
    """Multinomial logistic regression on pooled features, standardisation folded in.

    Args:
        weight: One row per class, for features as the teacher gives them.
        bias: One per class.
        strength: Of the L2 penalty, as validation chose it; 0 where nothing was fitted.
        accuracy: On validation.
        log_loss: On validation, in nats.
    """

    weight: Float[Tensor, "classes width"]
    bias: Float[Tensor, " classes"]
    strength: float
    accuracy: float
    log_loss: float

    @classmethod
    def of(
        cls,
        head: nn.Linear,
        val_features: Float[Tensor, "val_rows width"],
        val_targets: Int[Tensor, " val_rows"],
    ) -> "Probe":
        """The head that a network came with, and how it does on validation."""
        val = _labelled(val_features, val_targets, "validation")
        weight, bias = (tensor.detach().cpu().double() for tensor in (head.weight, head.bias))
        return _judged(weight, bias, val, strength=0.0)

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return len(self.weight)

    def logits(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch classes"]:
        """One logit per class, in float32, on the features' device."""
        weight, bias = self.weight.to(features.device), self.bias.to(features.device)
        # In halves they would no longer be the logits that validation judged.
        with torch.autocast(features.device.type, enabled=False):
            return F.linear(features.float(), weight, bias)

    def as_linear(self) -> nn.Linear:
        """The same map as a layer, whose weights are its own."""
        layer = nn.Linear(self.weight.shape[1], self.classes, device=self.weight.device)
        layer.load_state_dict({"weight": self.weight, "bias": self.bias})
        return layer

    def save(self, file: Path) -> None:
        """Writes a safetensors file, whole or not at all; what validation said is its metadata."""
        notes = {"strength": self.strength, "accuracy": self.accuracy, "log_loss": self.log_loss}
        metadata = {name: repr(value) for name, value in notes.items()}
        with replacing(file) as draft:
            draft.write_bytes(save({"weight": self.weight, "bias": self.bias}, metadata))

    @classmethod
    def load(cls, file: Path) -> "Probe":
        """Reads what `save` wrote."""
        with safe_open(file, framework="pt") as stored:
            notes = {name: float(value) for name, value in stored.metadata().items()}
            return cls(stored.get_tensor("weight"), stored.get_tensor("bias"), **notes)


def fit_probe(
    features: Float[Tensor, "rows width"],
    targets: Int[Tensor, " rows"],
    val_features: Float[Tensor, "val_rows width"],
    val_targets: Int[Tensor, " val_rows"],
    classes: int,
    *,
    strengths: Sequence[float] = STRENGTHS,
) -> Probe:
    """Fits a probe for each strength of its penalty and keeps the best on validation's log-loss.

    Deterministic: full batches, float64, L-BFGS from zero. The objective is the mean cross-entropy
    plus `strength / 2` times the squared weights on standardised features; biases go free. From
    strong to weak, each fit starts from the last; the search ends where validation has grown
    worse twice in a row, because the weakest penalties cost most and gain least.

    Args:
        features: Pooled features of the training images.
        targets: Their classes; rows of -1 are left out.
        val_features: Pooled features of the validation images.
        val_targets: Their classes, likewise.
        classes: How many there are, seen in training or not.
        strengths: To choose among.
    """
    train = _labelled(features, targets, "training")
    val = _labelled(val_features, val_targets, "validation")
    if (train[1] == train[1][0]).all():
        raise UserError("A probe needs two classes among the labelled training images, not one.")
    mean, inverse = _standardisation(train[0])
    train = ((train[0] - mean) * inverse, train[1])
    weight, bias = _zeros(classes, train[0].shape[1]), _zeros(classes)
    tried: list[Probe] = []
    # Warm starts: from the stronger penalty's answer the next takes a fraction of the iterations.
    for strength in sorted(strengths, reverse=True):
        _fit(*train, weight, bias, strength)
        folded = weight * inverse
        tried.append(_judged(folded, bias - folded @ mean, val, strength))
        if _worse_in_a_row(tried) == PATIENCE:
            break
    return min(tried, key=lambda probe: probe.log_loss)


def _labelled(features: Tensor, targets: Tensor, split: str) -> tuple[Tensor, Tensor]:
    kept = targets >= 0
    if not kept.any():
        raise UserError(f"A probe needs labelled {split} images, but there are none.")
    if not features[kept].isfinite().all():
        raise UserError(f"The teacher's features of the {split} images hold NaN or infinity.")
    return features[kept].detach().cpu().double(), targets[kept].cpu()


def _standardisation(features: Tensor) -> tuple[Tensor, Tensor]:
    mean, deviation = features.mean(0), features.std(0, correction=0)
    # What varies less than float16 can tell is constant: it must not be blown up to unit variance
    constant = deviation <= 1e-4 * features.abs().amax(0)
    return mean, torch.where(constant, 0.0, 1 / deviation)


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64, requires_grad=True)


def _fit(features: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, strength: float) -> None:
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=ITERATIONS,
        tolerance_grad=TOLERANCE,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        error = F.cross_entropy(F.linear(features, weight, bias), targets)
        loss = error + strength / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]


def _judged(weight: Tensor, bias: Tensor, val: tuple[Tensor, Tensor], strength: float) -> Probe:
    weight, bias = weight.detach(), bias.detach()
    logits = F.linear(val[0], weight, bias)
    accuracy = (logits.argmax(1) == val[1]).double().mean().item()
    log_loss = F.cross_entropy(logits, val[1]).item()
    return Probe(weight.float(), bias.float(), strength, accuracy, log_loss)


def _worse_in_a_row(tried: list[Probe]) -> int:
    best = min(range(len(tried)), key=lambda index: tried[index].log_loss)
    return len(tried) - 1 - best
