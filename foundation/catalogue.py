"""All commands, by who uses them: what `consilium` lists, and which module runs each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A command.

    Attributes:
        name: what is typed after `consilium`.
        module: that `python -m` runs.
        line: what it does.
        action: the module's first argument, where it has several commands.
    """

    name: str
    module: str
    line: str
    action: str | None = None

    @property
    def typed(self) -> str:
        """The same without `consilium`."""
        return " ".join(filter(None, ("python -m", self.module, self.action)))


_DATA, _FEDERATION = "foundation.data", "foundation.federation"
CATALOGUE = {
    "Researchers: prepare, train, evaluate": (
        Entry("data portals", f"{_DATA}.portals", "a public TCGA project, received as a site folder"),
        Entry("data declare", _DATA, "a folder looked at, and its declaration drafted, with questions", "declare"),
        Entry("data validate", _DATA, "every problem of a cohort's folders, before anything is packed", "validate"),
        Entry("data features", _DATA, "features of slides, regions or scans by an image encoder, once", "features"),
        Entry("data prepare", _DATA, "checks a cohort's folders and packs them for training", "prepare"),
        Entry("cohort withdrawn", _DATA, "the runs and releases that learned from patients who left", "withdrawn"),
        Entry("data describe", _DATA, "a prepared cohort on one page", "describe"),
        Entry("pretrain", "pretrain", "an encoder, at one place, on any trainer"),
        Entry("pretrain federated", "pretrain.federated", "an encoder, across hospitals whose data stay there"),
        Entry("pretrain controls", "pretrain.controls", "a pretraining run beside its negative controls, over seeds"),
        Entry("finetune", "finetune", "a task head on a pretrained encoder"),
        Entry("finetune federated", "finetune.federated", "a task head, across hospitals whose data stay there"),
        Entry("search", "finetune.search", "a task head's settings, by Optuna on validation patients alone"),
        Entry("crossvalidate", "finetune.crossvalidate", "a head on every fold or hospital left out, in one table"),
        Entry("evaluate", "finetune.evaluate", "a task model on hospitals held out, with intervals and a baseline"),
        Entry("evaluate federated", "finetune.federated.evaluate", "a task model across hospitals, by summed tables"),
        Entry("stratify", "finetune.stratification", "groups of patients by risk or embedding, and how they fare"),
        Entry(
            "biomarkers",
            "finetune.biomarkers",
            "what a model goes by, how faithfully, and what of it holds",
        ),
        Entry("trial", "finetune.trial", "what a model's score does for a trial: adjustment, and other tools"),
    ),
    "Hospitals: join a federation, see what left": (
        Entry("federation provision", f"{_FEDERATION}.deployment.provision", "keys, certificates and a folder a site"),
        Entry("federation join", f"{_FEDERATION}.deployment.join", "a hospital's own folder and key, and its request"),
        Entry(
            "federation superlink", f"{_FEDERATION}.deployment.superlink", "the server; its nodes, admitted, revoked"
        ),
        Entry("federation supernode", f"{_FEDERATION}.deployment.supernode", "a hospital's node, next to its data"),
        Entry("federation status", f"{_FEDERATION}.status", "how a run stands: sites, round, errors; also report"),
        Entry("federation schedule", f"{_FEDERATION}.schedule", "a recurring run, where hospitals have enough new"),
        Entry("federation plans", f"{_FEDERATION}.plans", "what a federation asks of this hospital; approve, decline"),
        Entry(
            "federation ledger verify",
            f"{_FEDERATION}.ledger",
            "what was altered in a ledger; also reconcile, show",
            "verify",
        ),
    ),
    "Downstream teams and readers: call the endpoint, read the card": (
        Entry("export", "serve.export", "a task model as bundle and TorchServe archive"),
        Entry("serve", "serve", "starts and stops the endpoint"),
        Entry("release promote", "serve.release", "a release earned or refused; propose, compare, rollback", "promote"),
        Entry("predict", "serve.predict", "one patient to the endpoint, and its answer"),
        Entry("batch", "serve.batch", "a cohort or a table of requests, answered as the endpoint does"),
        Entry("clinic start", "serve.clinic", "answers in an archive: DICOMweb in, reports out; ask, show", "start"),
        Entry("drift", "serve.drift", "what an endpoint is asked, beside the patients held back"),
        Entry("feedback look", "serve.feedback", "outcomes beside answers, by quarter; keep, share, pool", "look"),
        Entry("card", "serve.card", "the model card from run records; also card questions, check and diff"),
    ),
}
# Further actions of a command above, which the screen of all commands leaves out so that it fits one.
ACTIONS = (
    Entry("federation report", f"{_FEDERATION}.report", "the page of a federated run, beside other runs"),
    Entry("federation ledger reconcile", f"{_FEDERATION}.ledger", "sites' ledgers against a server's", "reconcile"),
    Entry("federation ledger show", f"{_FEDERATION}.ledger", "what went out and came in", "show"),
    Entry("release propose", "serve.release", "an export and its evaluation, taken in under rules", "propose"),
    Entry("release compare", "serve.release", "a challenger beside the release in use", "compare"),
    Entry("release rollback", "serve.release", "the release before, back in use", "rollback"),
    Entry("release show", "serve.release", "how every release stands, from the verified ledger", "show"),
    Entry("clinic ask", "serve.clinic", "one study, put on the worklist", "ask"),
    Entry("clinic show", "serve.clinic", "where studies stand, and why some were refused", "show"),
    Entry("feedback declare", "serve.feedback", "what a release is held to, before outcomes are seen", "declare"),
    Entry("feedback keep", "serve.feedback", "answers, kept at the hospital by keyed hash", "keep"),
    Entry("feedback outcomes", "serve.feedback", "what came of those who were answered", "outcomes"),
    Entry("feedback share", "serve.feedback", "sums of looks, as a hospital's policy lets them go", "share"),
    Entry("feedback pool", "serve.feedback", "the same tests over hospitals, of what they shared", "pool"),
    Entry("feedback forget", "serve.feedback", "patients who withdrew, taken out", "forget"),
    Entry("card questions", "serve.card", "a file with the card's questions, for people to answer", "questions"),
    Entry("card check", "serve.card", "a card's documents and numbers against the records", "check"),
    Entry("card diff", "serve.card", "what changed from one card to the next", "diff"),
)
ENTRIES = {entry.name: entry for entries in (ACTIONS, *CATALOGUE.values()) for entry in entries}


def entry_of(module: str, action: str) -> Entry | None:
    """The command that a function of a module is; None for a function that the catalogue does not list."""
    name = module.removesuffix(".__main__")
    entries = {entry.action: entry for entry in ENTRIES.values() if entry.module == name}
    return entries.get(action, entries.get(None))
