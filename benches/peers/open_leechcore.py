"""Opens a kernel dump with LeechCore and tells how many pages it has, and the first eight bytes of some of them.

The second line is the time that this took, in seconds: without the start of Python and of the library.
"""

import sys
import time

import leechcorepyc

start = time.perf_counter()
try:
    memory = leechcorepyc.LeechCore(sys.argv[1])
except TypeError:
    print("cannot open it")
    sys.exit()
pages = sum(run["size"] for run in memory.memmap) // 4096
# It reads whole pages.
words = [int.from_bytes(memory.read(int(address, 16), 4096)[:8], "little") for address in sys.argv[2:]]
seconds = time.perf_counter() - start
print(pages, *(f"{word:x}" for word in words))
print(seconds)
