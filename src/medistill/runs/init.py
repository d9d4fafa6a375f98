"""A commented recipe to start from."""

import json
from pathlib import Path
from shlex import quote

from medistill.data.volumes.layouts.base import open_volumes_root
from medistill.documents import parse_yaml
from medistill.errors import UserError
from medistill.results import write_text

TEMPLATE = """\
# medistill train {out}
# Every key below may be left out, but for data.root; `medistill list` tells what there is.
data:
  root: {root}            # a folder; several tasks: `roots: {{name: {{root: ...}}, ...}}`
  size: 224                # side of the images that the student sees, in pixels
  views: 8                 # the image as it is, and 7 augmented ones; 1: no augmentation
  # patient_pattern: "(P[0-9]+)_"     # finds the patient in a path: no patient in two splits
  # augmentation: {{rotation_degrees: 10, flip: horizontal}}  # no flip unless it makes sense
  # sampling: balanced     # classes equally often, where some are rare

teacher:                   # the foundation model; left out: `method: student_alone`
  name: timm/vit_base_patch16_224    # or torchvision/..., run:FOLDER, features:FILE
  weights: path/to/weights.safetensors
  grid: 4                  # its last map, averaged to 4 x 4; 1: pooled features alone
  # mean: 0.5              # its own input normalisation, if not the library's
  # std: 0.5

student:
  name: torchvision/resnet18
  weights: random          # or a file; `start: run:FOLDER` takes another run's network

method:
  name: reprogramming_distillation   # medistill list methods

training:
  epochs: 60
  batch_size: 32
  learning_rate: 1e-3
  schedule: cosine
  warmup: 2                # epochs
  seed: 0
  select: balanced_accuracy          # the validation metric that chooses the checkpoint

evaluation:
  sensitivity: 0.95        # the operating threshold is fitted to reach this on validation
"""

FOR_VOLUMES = """\
# medistill train {out}
# data.root and student must stand here; `medistill list` tells what there is.
data:
  root: {root}            # several regions: `roots: {{name: {{root: ..., region: ...}}, ...}}`
  # spacing_mm: [1, 1, 3]  # the median of the training cases by default
  # patch: [64, 64, 32]    # what the network sees at a time; by the data by default
  steps: 100               # in an epoch
  # patient_pattern: "(P[0-9]+)_"     # finds the patient in a path: no patient in two splits

# teacher: run:FOLDER      # a segmenter to imitate; left out: `method: student_alone`

student:
  name: monai/DynUNet      # or sat/unet, one network for several regions
  options: {{filters: [8, 16, 32, 64]}}

method:
  name: student_alone      # several regions: multi_task, or knowledge_decomposition with a teacher

training:
  epochs: 20
  batch_size: 2
  learning_rate: 3e-3
  schedule: cosine
  warmup: 0.5              # epochs
  seed: 0
  select: dice             # the validation metric that chooses the checkpoint
  validate_every: 2        # epochs; whole volumes take their time
"""


def init(data: Path, out: Path) -> None:
    """Write a commented recipe for a folder of images or of volumes.

    An existing file is never overwritten.
    """
    if not data.exists():
        raise UserError(f"No data at {data} (looked for {data.resolve()}).")
    if out.exists():
        raise UserError(f"{out} is there already; name another with --out.")
    template = FOR_VOLUMES if open_volumes_root(data) else TEMPLATE
    name = quote(str(out))
    write_text(out, template.format(root=_plain(str(data)), out=name))
    print(f"Wrote {out}. Next: medistill check {name}, then medistill train {name}")


def _plain(text: str) -> str:
    """A text as YAML reads it back: in quotes where it would be a number, a comment or a key."""
    try:
        same = parse_yaml(f"root: {text}  # read", "") == {"root": text}
    except UserError:
        same = False
    return text if same else json.dumps(text, ensure_ascii=False)
