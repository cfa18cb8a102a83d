"""What compiles DeepSpeed's extensions: found beside this interpreter, or done without."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from torch.utils.cpp_extension import get_cxx_compiler


def find_tools() -> None:
    """Lets DeepSpeed find the environment's `ninja` without the environment being activated.

    Where no compiler is, its sums over CPU processes of one machine are left to gloo, which gives the same, more
    slowly; the first process says so.
    """
    if shutil.which("ninja") is None:
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    compiler = get_cxx_compiler()  # with what `CXX` has before or behind it, as in `ccache g++`
    if all(shutil.which(part) for part in shlex.split(compiler) if not part.startswith("-")):
        return
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    deepspeed.ops.__compatible_ops__[get_accelerator().create_op_builder("ShareMemCommBuilder").NAME] = False
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(
            f"no C++ compiler ({compiler}) is on this machine: processes sum over gloo, more slowly; "
            "install one, such as Debian's g++, or name it in CXX",
            file=sys.stderr,
        )
