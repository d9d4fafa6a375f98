"""SAT's text encoder: once, names of classes become the vectors that a segmenter is asked with."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.backbones.base import first_line
from medistill.models.matching import match, refused, shapes
from medistill.models.state_files import read_state
from medistill.results import replacing

Modality = Literal["ct", "mri", "us", "pet"]
"""In the order of the published table of modalities."""


class TextEncoder(nn.Module):
    """A language model's mean over a name's tokens, projected, with a vector of the modality added.

    Zhao et al., Large-Vocabulary Segmentation for Medical Images with Text Prompts, npj Digital
    Medicine 2025.

    Args:
        language: Of `transformers`.
        width: Of its tokens.
    """

    def __init__(self, language: nn.Module, width: int) -> None:
        super().__init__()
        self.text_tower = nn.ModuleDict({"biolord": language})
        self.projection_layer = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )
        self.modality_embed = nn.Embedding(len(get_args(Modality)), width)

    def forward(self, tokens: dict[str, Tensor], modality: int) -> Float[Tensor, "names width"]:
        """One vector for each tokenised name."""
        hidden = self.text_tower["biolord"](**tokens)[0]
        # Padding is no part of a name: a mean with it would depend on the longest name beside it.
        counted = tokens["attention_mask"][..., None].to(hidden.dtype)
        mean = (hidden * counted).sum(1) / counted.sum(1)
        projected: Tensor = self.projection_layer(mean) + self.modality_embed.weight[modality]
        return projected


@torch.no_grad()
def write_text_queries(
    path: Path, names: Sequence[str], *, language: Path, encoder: Path, modality: Modality
) -> None:
    """Compute the vectors of class names and write them as a file that `queries` may name.

    Args:
        path: A safetensors file with one vector under each name.
        names: Of classes.
        language: Folder of BioLORD-2023-C, as huggingface.co/FremyCompany hands it out; its
            tokenizer and its config are read, and nothing is fetched.
        encoder: File of SAT's or LoRKD's text encoder.
        modality: Of the volumes that will be segmented.

    Raises:
        UserError: A library, a file or a tensor is missing.
    """
    model, tokenizer = _published(language)
    _load(model, encoder)
    tokens = tokenizer(
        # So that one class has one vector, however it is spelt; it is stored as it was given.
        [name.lower() for name in names], padding=True, truncation=True, max_length=64,
        return_tensors="pt",
    )  # fmt: skip
    vectors = model.eval()(dict(tokens), get_args(Modality).index(modality))
    with replacing(path) as draft:
        draft.write_bytes(save(dict(zip(names, vectors.unbind(), strict=True))))


def _published(folder: Path) -> tuple[TextEncoder, Any]:
    """The encoder without its weights, and what cuts names into tokens."""
    if find_spec("transformers") is None:
        raise UserError("Computing text queries needs transformers: pip install transformers.")
    library = import_module("transformers")
    try:
        config = library.AutoConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = library.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no language model ({first_line(error)}).") from error
    return TextEncoder(library.AutoModel.from_config(config), config.hidden_size), tokenizer


def _load(model: TextEncoder, encoder: Path) -> None:
    state = read_state(encoder, role="text encoder")
    # Versions of transformers differ in whether they store these numbers, which are 0, 1, 2, ...
    wanted = {n: s for n, s in shapes(model.state_dict()).items() if not n.endswith("position_ids")}
    found = match(wanted, state, prefixes=("module.",))
    if found.complaints:
        raise refused("text encoder", found, "Is this the text encoder that came with SAT?")
    model.load_state_dict(found.tensors(state), strict=False)
