#!/bin/sh
# The CUDA compiler from its wheels, at the versions of constraints.txt: nvcc, its headers and the static runtime, 271 MB,
# installed for PYTHON. An nvcc beside that Python's other commands then calls it.
#
#     tools/nvcc.sh PYTHON
set -eu
python=${1:?which Python?}

"$python" -m pip install --quiet --disable-pip-version-check --constraint "$(dirname "$0")/../constraints.txt" \
    nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl
home=$("$python" -c 'import importlib.util as u; print(*u.find_spec("nvidia.cu13").submodule_search_locations)')
command=$("$python" -c 'import sysconfig; print(sysconfig.get_path("scripts"))')/nvcc

# Not a link: nvcc looks for its parts where it was called. Its own profile names a folder lib64, which wheels call lib.
printf '#!/bin/sh\nexec "%s/bin/nvcc" "-L%s/lib" "$@"\n' "$home" "$home" > "$command"
chmod +x "$command"
"$command" --version | tail -n 2
