"""SAT: a U-Net whose voxels are compared with embeddings of the classes' names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.backbones.base import BackboneSpec, unknown
from medistill.models.segmenters._query_decoder import ImageEmbedding, QueryDecoder, positions
from medistill.models.segmenters._text_queries import Queries, fixed_vectors, read_vectors
from medistill.models.segmenters._unet3d import Plan, UNet3d, triples
from medistill.models.segmenters.base import Segmenter
from medistill.types import Output

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class SatOptions:
    """What a recipe may say of such a network; the defaults are for a processor.

    Args:
        widths: Channels of the U-Net's stages, fine to coarse.
        convs: Convolutions of each of its stages.
        strides: Of the first convolution of each stage, one number or three; by default 2 in all
            but the first.
        kernels: Of the convolutions of each stage; by default 3.
        inputs: Channels of the first convolution; grey is repeated in them.
        pool: By how much the coarsest map is averaged before queries look at it.
        hidden: Length of queries and of the image's embedding.
        embedding: Width between the two Linears that embed the image; by default `hidden`.
        heads: Of the attention.
        layers: Of the query decoder.
        feedforward: Width in these layers; by default 8/3 of `hidden`.
        mask: Width between the two Linears that embed a mask; by default a third of `hidden`.
        dropout: In the query decoder.
        queries: A safetensors file with a vector for each class name; by default the vectors are
            fixed, orthogonal and chosen by the names.
        learned_queries: Whether training changes them.
        query_length: Of the fixed vectors; by default `hidden`.
    """

    widths: Annotated[tuple[Count, ...], Field(min_length=2)] = (16, 32, 64, 128)
    convs: Count = 2
    strides: tuple[Count | tuple[Count, Count, Count], ...] | None = None
    kernels: tuple[Count | tuple[Count, Count, Count], ...] | None = None
    inputs: Count = 1
    pool: Count = 1
    hidden: Count = 192
    embedding: Count | None = None
    heads: Count = 8
    layers: Count = 2
    feedforward: Count | None = None
    mask: Count | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    queries: str | None = None
    learned_queries: bool = False
    query_length: Count | None = None


_PUBLISHED: dict[str, Any] = {
    "inputs": 3, "hidden": 768, "layers": 6, "feedforward": 2048, "embedding": 768, "mask": 256,
}  # fmt: skip
_NANO = {**_PUBLISHED, "widths": (64, 64, 128, 256, 512, 768)}
_PRESETS: dict[str, dict[str, Any]] = {
    "nano": _NANO,
    "pro": {
        **_PUBLISHED, "widths": (128, 128, 256, 512, 1024, 1536), "convs": 3, "embedding": 1536,
        "mask": 384,
    },
    "lorkd_nano": {**_PUBLISHED, "widths": (32, 64, 128, 256, 512), "pool": 2},
    "lorkd_pro": _NANO,
    "unet": {},
}  # fmt: skip


class Sat(Segmenter):
    """SAT (`nano`, `pro`), LoRKD's students of it (`lorkd_nano`, `lorkd_pro`), or any such `unet`.

    Every scale of the encoder is averaged to the coarsest grid and embedded; queries, one for each
    class, look at it; what they have seen is compared with the decoder's features of each voxel.
    Zhao et al., Large-Vocabulary Segmentation for Medical Images with Text Prompts, npj Digital
    Medicine 2025. Students: LoRKD, arXiv 2409.19540.
    """

    def __init__(
        self, architecture: str, options: Mapping[str, Any], vocabulary: Sequence[str]
    ) -> None:
        super().__init__(architecture, options, vocabulary)
        if architecture not in _PRESETS:
            raise unknown("sat", architecture, self.names())
        self.spec = BackboneSpec(f"sat/{architecture}", dict(options))
        self.vocabulary = tuple(vocabulary)
        self.options = told = _validated(self.spec.name, {**_PRESETS[architecture], **options})
        self.plan = plan = _plan(self.spec.name, told)
        self.width = plan.widths[-1]
        # The coarsest map is averaged once more before queries look at it, and must divide too.
        self.stride = tuple(step * told.pool for step in plan.stride)  # type: ignore[assignment]
        self.unet = UNet3d(plan)
        self.queries = Queries(
            _vectors(told, self.vocabulary), told.hidden, learned=told.learned_queries
        )
        hidden = told.hidden
        self.embedding = ImageEmbedding(plan.widths, told.embedding or hidden, hidden)
        self.query_decoder = QueryDecoder(
            told.layers, hidden, told.heads, told.feedforward or 8 * hidden // 3, told.dropout
        )
        inner = told.mask or hidden // 3
        self.mask_embedding = nn.Sequential(
            nn.Linear(hidden, inner), nn.GELU(), nn.Linear(inner, plan.widths[0]), nn.GELU()
        )
        self.multiples = _multiples(self.unet)

    @staticmethod
    def names() -> list[str]:
        """The published sizes, and `unet` for any other."""
        return sorted(_PRESETS)

    @property
    def portable(self) -> dict[str, Any]:
        """Options spelt out, with the vectors' length in place of their file."""
        told = asdict(self.options)
        del told["queries"]
        told |= {"strides": self.plan.strides, "kernels": self.plan.kernels}
        return {**told, "query_length": self.queries.vectors.shape[1]}

    @property
    def by_class(self) -> tuple[str, ...]:
        """The vectors of the queries."""
        return ("queries.vectors",)

    def forward(
        self, images: Float[Tensor, "batch 1 *space"], queries: Int[Tensor, "batch queries"]
    ) -> Output:
        """See `Segmenter.forward`."""
        maps, voxels = self.unet(images.expand(-1, self.options.inputs, -1, -1, -1))
        masks = self._masks(maps, queries)
        logits = torch.bmm(masks, voxels.flatten(2)).view(*queries.shape, *images.shape[2:])
        return Output(logits, maps[-1].flatten(2).mean(dim=2), maps)

    def _masks(
        self, maps: tuple[Tensor, ...], queries: Tensor
    ) -> Float[Tensor, "batch queries width"]:
        """An embedding of each query's mask: what its voxels' features look like."""
        grid = [side // self.options.pool for side in maps[-1].shape[2:]]
        seen = self.query_decoder(
            self.queries(queries),
            self.embedding(maps, grid),
            positions(grid, self.options.hidden, maps[-1]),
        )
        masks: Tensor = self.mask_embedding(seen)
        return masks


def _validated(name: str, given: Mapping[str, Any]) -> SatOptions:
    _refuse_unknown(name, given)
    try:
        options: SatOptions = TypeAdapter(SatOptions).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0])
        raise UserError(f"{name}: {option} = {given[option]!r}: {first['msg']}.") from error
    if options.hidden % options.heads:
        raise UserError(
            f"{name}: hidden = {options.hidden} is no multiple of heads = {options.heads}."
        )
    return options


def _refuse_unknown(name: str, given: Iterable[str]) -> None:
    known = [field.name for field in fields(SatOptions)]
    for option in given:
        if option not in known:
            close = get_close_matches(option, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(known)}."
            raise UserError(f"{name} has no option {option!r}. {hint}")


def _plan(name: str, options: SatOptions) -> Plan:
    stages = len(options.widths)
    strides = options.strides or (1, *[2] * (stages - 1))
    kernels = options.kernels or (3,) * stages
    for option, values in {"strides": strides, "kernels": kernels}.items():
        if len(values) != stages:
            raise UserError(
                f"{name}: {option} has {len(values)} entries for {stages} stages of `widths`."
            )
    plan = Plan(options.inputs, options.widths, options.convs, triples(strides), triples(kernels))
    if any(side % 2 == 0 for sides in plan.kernels for side in sides):
        raise UserError(f"{name}: kernels = {list(kernels)}: their sides must be odd.")
    return plan


def _vectors(options: SatOptions, vocabulary: Sequence[str]) -> Float[Tensor, "classes length"]:
    if options.queries is None:
        return fixed_vectors(vocabulary, options.query_length or options.hidden)
    return read_vectors(Path(options.queries).expanduser(), vocabulary)


def _multiples(unet: UNet3d) -> dict[str, int]:
    """Convolutions of the encoder once, those of the decoder twice: as LoRKD released it."""
    return {
        f"unet.{name}": 1 if name.startswith("encoder.") else 2
        for name, module in unet.named_modules()
        if isinstance(module, nn.Conv3d)
    }
