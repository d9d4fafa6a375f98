"""What a run was made with: versions, hardware, and hashes of what went in."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

PACKAGES = ("medistill", "torch", "torchvision", "timm", "numpy", "onnx", "onnxruntime", "pillow")


def environment() -> dict[str, Any]:
    """Versions and hardware; no user, host or path."""
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:  # noqa: PTH123
            names = (line.partition(":")[2].strip() for line in info if line[:10] == "model name")
            return next(names, platform.processor())
    except OSError:
        return platform.processor()
