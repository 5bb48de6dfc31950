"""`mg.jit`: a step is watched once, and from then on repeated without Python's part in it.

    jitted      jit, Jitted: a program for each signature of arguments
    step        Step: how a program comes about, and is proved
    tracing     Tracer writes down the ops of a step while it runs
    watching    Watch: what code ran meanwhile, and which names it reads
    guards      Guard: what a step depends on beside its arguments, compared before each run

A step arrives as the list of its op calls. On the way to a program

1. calls whose results nobody reads are dropped (`values`);
2. neighbours are put together where one pass over memory serves both (`fusion`: a table of rules;
   `chains`: element by element);
3. every array gets its place in one block of memory, which it shares with arrays that live at
   other times; gradients of parameters lie where the optimizer reads them (`memory`);
4. each call becomes a kernel with its record (`lowering`), a NumPy function that writes to a given
   array, or, where there is neither, the op itself and a copy (`in_python`);
5. the program runs them (`program`).

On a device the plan is the same, and the instructions are launches that a CUDA graph repeats:

    device      DeviceProgram: launches in place of kernels of the host, and their graphs
    device_chains device_products device_attention device_scales device_sums device_draws
    device_waiting
                fewer launches: chains, small products together, what attention keeps, and clipping
    places      where arrays lie, be they the host's or a device's, and copies of them
"""

from minigrad.programs.jitted import Jitted, jit
from minigrad.programs.step import disable_jit
from minigrad.programs.tracing import PLAIN

__all__ = ["PLAIN", "Jitted", "disable_jit", "jit"]
