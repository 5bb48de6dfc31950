"""Files of a run: safetensors and JSON; whole or absent, hashed, verified on load.

    runs.save("model.safetensors", model)               # or arrays by name
    model.load_state_dict(runs.load("model.safetensors"))
    runs.load("model.safetensors", names="encoder.layers.0")     # reads nothing else

    with runs.transaction("models/first") as new:       # several files that belong together
        runs.save_arrays(new / "model.safetensors", model.state_dict())
        runs.save_json(new / "config.json", config)
    files = runs.files_of("models/first")               # verified
    arrays = runs.load_arrays(files["model.safetensors"])

A file is written beside its place and then moved there, and so is what several files together are:
whoever is interrupted, by whatever and whenever, leaves the old state or the new one. Files are
given by path, by URI, as bytes or as open files, directories by path or URI: s3://bucket/run with
the extra `s3`, memory://run and what else fsspec knows with the extra `stores`. Nothing here can
run code from a file: no pickle.

    recorders        save and load: a model's arrays in one file, of full, half or readable numbers
    directories      transaction, verify; on disk, and by
    prefixes         in object stores       manifests   what belongs together
    arrays           safetensors          documents      JSON
    pytorch  pickled    what torch.save writes, without running it
    files  stores    bytes on disk, in memory and in object stores
    locks            one process at a time
"""

from minigrad.runs.arrays import ArrayFile, load_arrays, load_metadata, save_arrays
from minigrad.runs.directories import (
    MANIFEST,
    files_of,
    has_run,
    is_temporary,
    load_together,
    prepare_directory,
    remove,
    tidy,
    transaction,
    verify,
    verify_manifest,
    write_manifest,
)
from minigrad.runs.documents import load_json, save_json, save_text
from minigrad.runs.files import atomic_write, inside, is_uri, local
from minigrad.runs.locks import locked
from minigrad.runs.recorders import load, save
from minigrad.runs.stores import redacted

__all__ = [
    "MANIFEST",
    "ArrayFile",
    "atomic_write",
    "files_of",
    "has_run",
    "inside",
    "is_temporary",
    "is_uri",
    "load",
    "load_arrays",
    "load_json",
    "load_metadata",
    "load_together",
    "local",
    "locked",
    "prepare_directory",
    "redacted",
    "remove",
    "save",
    "save_arrays",
    "save_json",
    "save_text",
    "tidy",
    "transaction",
    "verify",
    "verify_manifest",
    "write_manifest",
]
