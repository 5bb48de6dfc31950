"""Files of a run directory: safetensors and JSON; whole or absent, hashed, verified on load.

    prepare_directory("models/first")
    save_arrays("models/first/model.safetensors", model.state_dict())
    save_json("models/first/config.json", config)
    write_manifest("models/first", ["model.safetensors", "config.json"])

    verify_manifest("models/first")
    arrays = load_arrays("models/first/model.safetensors")

Every file is written beside its place and then moved there, so that an interrupted save leaves
the old file as it was. A file of arrays carries its own digest; a manifest, written last, says
which files belong together. Nothing here can run code from a file: no pickle.
"""

from minigrad.runs.arrays import load_arrays, load_metadata, save_arrays
from minigrad.runs.directories import (
    MANIFEST,
    prepare_directory,
    verify_manifest,
    write_manifest,
)
from minigrad.runs.documents import load_json, save_json, save_text
from minigrad.runs.files import atomic_write

__all__ = [
    "MANIFEST",
    "atomic_write",
    "load_arrays",
    "load_json",
    "load_metadata",
    "prepare_directory",
    "save_arrays",
    "save_json",
    "save_text",
    "verify_manifest",
    "write_manifest",
]
