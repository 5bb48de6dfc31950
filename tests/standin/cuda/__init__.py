"""In place of NVIDIA's packages, of which `minigrad` asks for the libraries."""
