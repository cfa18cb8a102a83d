"""What a worker puts off is not loaded by its answers, and is there whole for whoever uses it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.data.cohort import Cohort
from serve.client import to_request
from serve.schema import BundleSchema

pytestmark = pytest.mark.process

SERVES = """
import sys
from pathlib import Path
import torch
from serve.late_imports import late_imports
with late_imports():
    from serve import explanation
    from serve.predictor import Predictor
    predictor = Predictor.load(Path(sys.argv[1]))
(answer,) = predictor.answer([sys.argv[2]])
print(answer.model_dump_json(exclude={"request_id"}))
late = {"torch._dynamo", "torch._inductor", "torch.distributed.tensor", "sympy", "scipy", "pyarrow"}
assert not late & sys.modules.keys(), late & sys.modules.keys()
assert torch.distributed.is_available()
"""
COMPILES = """
import torch._dynamo.config
assert torch._dynamo.config is sys.modules["torch._dynamo.config"]
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)) == 2
from transformers.masking_utils import TransformGetItemToIndex
with TransformGetItemToIndex():
    pass
from torchvision.ops.roi_align import is_compile_supported
assert is_compile_supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
from transformers.loss.loss_for_object_detection import linear_sum_assignment
assert linear_sum_assignment([[1, 0], [0, 1]])[1].tolist() == [1, 0]
import pandas, pyarrow
assert pyarrow.Table.from_pandas(pandas.DataFrame({"a": [1]})).to_pylist() == [{"a": 1}]
"""
PLAIN = """
import sys
from pathlib import Path
from serve.predictor import Predictor
(answer,) = Predictor.load(Path(sys.argv[1])).answer([sys.argv[2]])
print(answer.model_dump_json(exclude={"request_id"}))
"""
USES_MORE = """
import sys
from serve.late_imports import late_imports
with late_imports():
    import torch
    {use}
assert all("StandIn" not in type(module).__name__ for module in sys.modules.values())
"""


def run(program: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_worker_answers_without_compiler_and_solver_and_the_same(bundle: Path, cohort: Cohort, complete: str):
    request = json.dumps(to_request(cohort.sample(complete), BundleSchema.load(bundle)))
    assert run(SERVES + COMPILES, str(bundle), request) == run(PLAIN, str(bundle), request)


@pytest.mark.parametrize(
    "use",
    [
        "from torch._dynamo import reset; reset()",
        "import torch._dynamo.config as one; assert one is sys.modules['torch._dynamo.config'] is torch._dynamo.config",
        "import torch._dynamo.config as one; assert one.__spec__.origin.endswith('.py') and one.__spec__.loader",
        "import torch._dynamo; assert torch._dynamo.is_dynamo_supported() in (True, False)",
        "from scipy.optimize import minimize; assert minimize(lambda x: (x - 1) ** 2, 0).x.round(3) == 1",
        "from torch._dynamo.utils import is_compile_supported, counters; assert counters is not None",
        "assert torch.compiler.disable(abs)(-1) == 1",
        "assert torch.compiler.disable(recursive=False)(abs)(-1) == 1",
        "assert torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)) == 2",
    ],
)
def test_who_uses_more_while_a_model_loads_gets_the_modules_themselves(use: str):
    run(USES_MORE.format(use=use))


def test_what_is_loaded_already_stays():
    run("import sys, torch._dynamo as before, scipy.optimize as other\n" + USES_MORE.format(use="pass"))
    use = "assert sys.modules['torch._dynamo'] is before and sys.modules['scipy.optimize'] is other"
    run("import sys, torch._dynamo as before, scipy.optimize as other\n" + USES_MORE.format(use=use))


TOWERS = """
import sys, torch
from serve.late_imports import late_imports
with late_imports():
    import peft
    from foundation.modalities.pathology.encoder import Pathology
    from foundation.modalities.radiology_volumes.encoder import RadiologyVolumes
    from transformers import CLIPVisionModel, Dinov2Model, ModernBertConfig, ModernBertModel, RobertaModel, SwinModel
assert "torch._dynamo" not in sys.modules
settings = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
text = ModernBertModel(ModernBertConfig(**settings, intermediate_size=32, pad_token_id=0)).eval()
assert text(input_ids=torch.arange(5)[None]).last_hidden_state.shape == (1, 5, 32)
tiles = Pathology(8, backbone="test_vit", size=64, tune="lora").eval()
assert tiles(tiles.collate([tiles.transform(tiles.blank(), None)])).values.shape == (1, 1, 8)
from torch.distributed.tensor import DTensor
"""


@pytest.mark.slow
def test_towers_of_other_kinds_load_and_see():
    run(TOWERS)
