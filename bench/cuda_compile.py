"""Compile one CUDA object and keep beside it, in OBJECT.kept/, what cuda_report.py and cuda_sass.py read: what ptxas said
(usage.log), the PTX and the cubins.

`make cuda` puts it in front of nvcc (CMAKE_CUDA_COMPILER_LAUNCHER), so that the report comes from the compilation that is made
anyway, and an object that is up to date has its report too.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

# What `--resource-usage` adds to the output; the rest (warnings, errors) is shown.
USAGE = re.compile(r"ptxas info\s*: (\d+ bytes gmem|Compiling entry|Function properties|Used \d+ registers|Compile time)"
                   r"|\s*\d+ bytes stack frame")


def main(command: list[str]) -> int:
    kept = Path(command[command.index("-o") + 1] + ".kept")
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    # Line numbers for cuda_sass.py; they change no instruction.
    done = subprocess.run([*command, "--resource-usage", "-lineinfo", "--keep", f"--keep-dir={kept}"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    print("".join(line for line in done.stdout.splitlines(keepends=True) if not USAGE.match(line)), end="", file=sys.stderr)
    if done.returncode:
        shutil.rmtree(kept)
        return done.returncode
    for file in kept.iterdir():
        if file.suffix not in (".ptx", ".cubin"):
            file.unlink()
    (kept / "usage.log").write_text(done.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
