"""What each order needs, imported once: the process that orders are forked from imports this module.

Whatever is missing here is imported by every order anew, which takes seconds a round.
"""

import gc
from importlib import import_module

from foundation.command import compose_installed
from foundation.federation.policy.order import shipped_targets

_OURS = ("foundation.", "pretrain.", "finetune.")  # a config names others, such as loggers, that few runs use
_LATE = (
    "datasets",
    "foundation.encoder",
    "foundation.engine.run",
    "foundation.federation.deployment.worker",
    "foundation.federation.site.app",
    "foundation.probes",
    "httpcore",
    "peft",
    "torch.profiler",
    "torch.utils.tensorboard",
    "transformers.models.bert.modeling_bert",
)

for _name in (*_LATE, *sorted(name.rpartition(".")[0] for name in shipped_targets() if name.startswith(_OURS))):
    import_module(_name)
compose_installed("federated", ())  # Hydra loads its parser and its plugins when it composes for the first time
gc.collect()
gc.freeze()  # forked processes share what is here for as long as nothing, not even a collection, writes to it
