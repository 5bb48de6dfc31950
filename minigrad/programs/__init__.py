"""What a captured step becomes: a plan of its memory, and the instructions that run in it.

A step arrives as the list of its op calls (`minigrad.capture`). On the way to a program

1. calls whose results nobody reads are dropped;
2. neighbours are put together where one pass over memory serves both (`fusion`);
3. each call becomes a handler of `minigrad.kernels.machine`, a NumPy function that writes to a
   given array, or, where there is neither, the op itself and a copy (`instructions`);
4. every array gets its place in one block of memory, which it shares with arrays that live at
   other times; gradients of parameters lie where the optimizer reads them (`program`).
"""

from minigrad.programs.program import Program
from minigrad.programs.values import Call, Drawn, Instruction, NotStacked, Region, Update, Value

__all__ = ["Call", "Drawn", "Instruction", "NotStacked", "Program", "Region", "Update", "Value"]
