"""Names become vectors by the published encoder; `transformers` is played by a small stand-in."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.text_encoder import write_text_queries
from tests.models.segmenters.published import filled, wrapped
from tests.models.segmenters.small import CLASSES, sat

WIDTH = 12
KEYS = {
    "module.text_tower.biolord.embeddings.word_embeddings.weight": (128, WIDTH),
    "module.projection_layer.0.weight": (WIDTH, WIDTH),
    "module.projection_layer.0.bias": (WIDTH,),
    "module.projection_layer.2.weight": (WIDTH, WIDTH),
    "module.projection_layer.2.bias": (WIDTH,),
    "module.modality_embed.weight": (4, WIDTH),
    "module.atlas_tower.weight": (3,),
    "module.temperature": (),
}


class Language(nn.Module):
    """A language model in which a token is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Module()
        self.embeddings.word_embeddings = nn.Embedding(128, WIDTH)
        self.embeddings.register_buffer("position_ids", torch.arange(9))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        return (self.embeddings.get_submodule("word_embeddings")(input_ids),)


def tokenized(names: list[str], **_: Any) -> dict[str, Tensor]:
    """A letter is a token; shorter names are filled up."""
    longest = max(map(len, names))
    ids = [[*map(ord, name), *[0] * (longest - len(name))] for name in names]
    mask = [[1] * len(name) + [0] * (longest - len(name)) for name in names]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    library: Any = ModuleType("transformers")
    library.__spec__ = ModuleSpec("transformers", None)

    def config(path: Path, *, local_files_only: bool) -> Any:
        if not path.is_dir():
            raise OSError(f"{path} is not a folder\nand more")
        return SimpleNamespace(hidden_size=WIDTH)

    library.AutoConfig = SimpleNamespace(from_pretrained=config)
    library.AutoTokenizer = SimpleNamespace(from_pretrained=lambda path, **_: tokenized)
    library.AutoModel = SimpleNamespace(from_config=lambda config: Language())
    monkeypatch.setitem(sys.modules, "transformers", library)
    return tmp_path


def test_a_vector_is_what_the_published_encoder_makes_of_a_name(folder: Path) -> None:
    state = filled(KEYS)
    torch.save(wrapped(state), folder / "text.pth")
    out = folder / "queries.safetensors"
    write_text_queries(
        out, [*CLASSES, "Aorta"], language=folder, encoder=folder / "text.pth", modality="mri"
    )
    words, *_ = state.values()
    mean = words[[ord(letter) for letter in "aorta"]].mean(0)
    first, bias, second, other, modality, *_ = list(state.values())[1:]
    hidden = nn.functional.gelu(first @ mean + bias)
    torch.testing.assert_close(load_file(out)["Aorta"], second @ hidden + other + modality[1])
    vectors = sat(queries=str(out)).state_dict()["queries.vectors"]
    assert torch.equal(vectors[0], load_file(out)["liver"])


def test_a_file_that_is_no_text_encoder_is_refused(folder: Path) -> None:
    state = filled(KEYS)
    del state["module.modality_embed.weight"]
    torch.save(wrapped(state), folder / "text.pth")
    with pytest.raises(UserError, match=r"modality_embed\.weight is not in the file"):
        write_text_queries(
            folder / "q", CLASSES, language=folder, encoder=folder / "text.pth", modality="ct"
        )
    assert not (folder / "q").exists()


def test_a_folder_without_a_language_model_is_named(folder: Path) -> None:
    missing = folder / "missing"
    with pytest.raises(UserError, match="missing holds no language model") as raised:
        write_text_queries(
            folder / "q", CLASSES, language=missing, encoder=folder / "text.pth", modality="ct"
        )
    assert "\n" not in str(raised.value)


def test_a_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medistill.models.text_encoder.find_spec", lambda _: None)
    with pytest.raises(UserError, match="needs transformers: pip install transformers"):
        write_text_queries(
            tmp_path / "q", CLASSES, language=tmp_path, encoder=tmp_path, modality="ct"
        )
