"""Files as the authors of released models publish them: keys, shapes and wrapping, random halves.

Nothing here comes from what is tested. Networks of torchvision tell their own keys; those of others
are spelt out.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

_NOISE = torch.rand(1 << 16, generator=torch.Generator().manual_seed(0))


def filled(shapes: Mapping[str, tuple[int, ...]]) -> State:
    """Halves that a network can stand: small weights, and norms around one."""
    return {name: _tensor(name, shape) for name, shape in shapes.items()}


def hollow(shapes: Mapping[str, tuple[int, ...]]) -> State:
    """Tensors that have a shape, and nothing else."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1000)
    count = torch.Size(shape).numel()
    start = sum(map(ord, name)) % 4096  # so that hardly two tensors are alike
    noise = _NOISE[start:].repeat(count // (len(_NOISE) - start) + 1)[:count].view(shape)
    around_one = len(shape) < 2 and name.endswith(("weight", "running_var", "gamma", "lambda1"))
    return (0.75 + noise / 2 if around_one else (noise - 0.5) / 10).half()


def prefixed(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


def _shapes(network: Callable[..., nn.Module], **options: Any) -> Shapes:
    """Of a network of torchvision, without its classifier."""
    with torch.device("meta"):
        state = network(weights=None, **options).state_dict()
    heads = ("fc.", "classifier.")
    return {n: tuple(t.shape) for n, t in state.items() if not n.startswith(heads)}


def _copied(network: Callable[..., nn.Module], **options: Any) -> Shapes:
    """As RadImageNet copies it: its children, one after the other, in a `Sequential`."""
    with torch.device("meta"):
        chain = nn.Sequential(*list(network(**options).children())[:-1])
    return {f"backbone.{n}": tuple(t.shape) for n, t in chain.state_dict().items()}


def resnet50() -> Shapes:
    return _shapes(torchvision.models.resnet50)


def densenet121() -> Shapes:
    return _shapes(torchvision.models.densenet121)


def pmc_clip() -> dict[str, Any]:
    """The full checkpoint: a state of both towers below DDP's `module.`, the optimiser beside."""
    return {
        "epoch": 100,
        "name": "RN50_fusion4",
        "state_dict": prefixed("module.", {**prefixed("visual.", clip_tower()), **clip_text()}),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]},
    }


def clip_tower() -> State:
    """339 tensors: three convolutions as the stem, and pooling by attention."""
    stem: Shapes = {}
    for number, (width, channels) in enumerate([(32, 3), (32, 32), (64, 32)], start=1):
        stem[f"conv{number}.weight"] = (width, channels, 3, 3)
        stem |= {f"bn{number}.{n}": (width,) for n in ("weight", "bias", "running_mean")}
        stem |= {f"bn{number}.running_var": (width,), f"bn{number}.num_batches_tracked": ()}
    pool: Shapes = {"attnpool.positional_embedding": (50, 2048)}
    for name, width in (("k_proj", 2048), ("q_proj", 2048), ("v_proj", 2048), ("c_proj", 768)):
        pool |= {f"attnpool.{name}.weight": (width, 2048), f"attnpool.{name}.bias": (width,)}
    stages = {name: shape for name, shape in resnet50().items() if name.startswith("layer")}
    return filled({**stem, **stages, **pool})


def clip_text() -> State:
    texts = {
        "text_encoder.embeddings.word_embeddings.weight": (40, 8),
        "text_encoder.encoder.layer.0.attention.self.query.weight": (8, 8),
        "text_projection": (8, 8), "mlm_projection": (8, 40), "positional_embedding": (77, 8),
        "ln_final.weight": (8,), "fusion_module.resblocks.0.attn.in_proj_weight": (24, 8),
        "img_special_token": (1, 1, 8), "logit_scale": (),
    }  # fmt: skip
    positions = {"text_encoder.embeddings.position_ids": torch.arange(512)[None]}
    return {**filled(texts), **positions}


def radimagenet_resnet50() -> State:
    return filled(_copied(torchvision.models.resnet50))


def radimagenet_port() -> State:
    """Of `Warvito/radimagenet-models`: torchvision's names, and a bias for every convolution."""
    own = resnet50()
    convolutions = {name: shape for name, shape in own.items() if len(shape) == 4}
    biases = {n.replace("weight", "bias"): shape[:1] for n, shape in convolutions.items()}
    return filled({**own, **biases})


def radimagenet_densenet121() -> State:
    return filled(_copied(torchvision.models.densenet121))


def radimagenet_inceptionv3(*, auxiliary: bool = False) -> State:
    network = torchvision.models.inception_v3
    return filled(_copied(network, aux_logits=auxiliary, init_weights=False))


def chexnet() -> dict[str, Any]:
    """A torchvision of 2017 named the norms and convolutions of a dense layer with a dot."""
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): shape
        for name, shape in densenet121().items()
        if not name.endswith("num_batches_tracked")
    }
    own = {**old, "classifier.0.weight": (14, 1024), "classifier.0.bias": (14,)}
    return {"state_dict": prefixed("module.densenet121.", filled(own)), "best_loss": 0.2}


def torchxrayvision(*, thresholds: bool = True) -> State:
    own = {**densenet121(), "features.conv0.weight": (64, 1, 7, 7)}
    own |= {"classifier.weight": (18, 1024), "classifier.bias": (18,)}
    return filled({**own, "op_threshs": (18,)} if thresholds else own)


def sam(*, depth: int = 12, width: int = 768, absolute: bool, whole: tuple[int, ...]) -> Shapes:
    """SAM's image encoder of 1024 pixels, whose blocks in `whole` look at the whole image."""
    own: Shapes = {"patch_embed.proj.weight": (width, 3, 16, 16), "patch_embed.proj.bias": (width,)}
    if absolute:
        own["pos_embed"] = (1, 64, 64, width)
    for block in range(depth):
        places = 127 if block in whole else 27
        layers = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.lin1": (4, 1), "mlp.lin2": (1, 4)}
        for norm in ("norm1", "norm2"):
            own |= {f"blocks.{block}.{norm}.{kind}": (width,) for kind in ("weight", "bias")}
        for table in ("rel_pos_h", "rel_pos_w"):
            own[f"blocks.{block}.attn.{table}"] = (places, 64)
        for layer, (out, into) in layers.items():
            own[f"blocks.{block}.{layer}.weight"] = (out * width, into * width)
            own[f"blocks.{block}.{layer}.bias"] = (out * width,)
    neck = {"0.weight": (256, width, 1, 1), "2.weight": (256, 256, 3, 3)}
    norms = {f"{place}.{kind}": (256,) for place in (1, 3) for kind in ("weight", "bias")}
    return {**own, **prefixed("neck.", {**neck, **norms})}


def medsam(**options: Any) -> State:
    """A whole SAM, flat."""
    encoder = filled(sam(absolute=True, **options))
    others = {
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, 128),
        "mask_decoder.iou_token.weight": (1, 256),
    }
    return {**prefixed("image_encoder.", encoder), **filled(others)}


def _vit(depth: int, width: int, patch: int, tokens: int, *, scaled: bool) -> Iterator[Any]:
    yield from [("cls_token", (1, 1, width)), ("pos_embed", (1, tokens, width))]
    yield from _layer("patch_embed.proj", (width, 3, patch, patch))
    for block in range(depth):
        for norm in ("norm1", "norm2"):
            yield from _layer(f"blocks.{block}.{norm}", (width,))
        for layer, out, into in (
            ("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4),
        ):  # fmt: skip
            yield from _layer(f"blocks.{block}.{layer}", (out * width, into * width))
        if scaled:
            yield from ((f"blocks.{block}.ls{number}.gamma", (width,)) for number in (1, 2))
    yield from _layer("norm", (width,))


def _layer(name: str, weight: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def biomedclip(*, depth: int = 12, width: int = 768) -> State:
    trunk = filled(dict(_vit(depth, width, 16, 197, scaled=False)))
    others = filled({
        "visual.head.proj.weight": (512, 768), "logit_scale": (),
        "text.transformer.embeddings.word_embeddings.weight": (40, 8), "text.proj.0.weight": (8, 8),
    })  # fmt: skip
    ids = {"text.transformer.embeddings.position_ids": torch.arange(512)[None]}
    return {**prefixed("visual.trunk.", trunk), **others, **ids}


def rad_dino(*, depth: int = 12, width: int = 768) -> State:
    """`backbone_compatible.safetensors`, in DINOv2's own naming."""
    return filled({**dict(_vit(depth, width, 14, 1370, scaled=True)), "mask_token": (1, width)})


_TRANSFORMERS = {
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}


def rad_dino_of_transformers(*, depth: int = 12, width: int = 768) -> State:
    """`model.safetensors`: a `Dinov2Model`, its attention in three parts."""
    state: State = {}
    for name, tensor in rad_dino(depth=depth, width=width).items():
        layer, _, kind = name.rpartition(".")
        if name.startswith("blocks."):
            _, block, rest = name.split(".", 2)
            state |= prefixed(f"encoder.layer.{block}.", dict(_in_transformers(rest, tensor)))
        else:
            known = _TRANSFORMERS.get(name)
            state[known or f"{_TRANSFORMERS[layer]}.{kind}"] = tensor
    return state


def _in_transformers(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    layer, _, kind = name.rpartition(".")
    if layer == "attn.qkv":
        for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            yield f"attention.attention.{part}.{kind}", third.clone()
    elif layer == "attn.proj":
        yield f"attention.output.dense.{kind}", tensor
    elif kind == "gamma":
        yield f"layer_scale{layer[-1]}.lambda1", tensor
    else:
        yield name, tensor
