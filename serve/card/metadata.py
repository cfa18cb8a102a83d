"""The metadata that Hugging Face reads from the head of a README."""

from huggingface_hub import EvalResult, ModelCardData

from serve.card.chain import Evaluation, Evidence
from serve.card.content.results import held_out, task_name
from serve.card.content.tables import Figures, metric_name, metrics
from serve.card.content.training import modalities
from serve.card.eval_results import slug


def front_matter(evidence: Evidence) -> str:
    """YAML between lines of three dashes, as `huggingface_hub` writes and checks it."""
    graph = evidence.graph
    synthetic = any(run.file.at("data", "synthetic") for run in evidence.runs)
    names = [node.text for node in modalities(evidence)]
    results = [each for evaluation in evidence.evaluations for each in _results(evidence, evaluation)]
    cohorts = [str(run.file.at("data", "name")) for run in evidence.runs if run.file.at("data", "name")]
    data = ModelCardData(
        license=str(graph.nodes["model/license"].value),
        language="en",
        library_name="consilium",
        tags=["medical", "multimodal", "federated-learning", *names, *(["synthetic-data"] if synthetic else [])],
        datasets=list(dict.fromkeys(map(slug, cohorts))),
        metrics=list(dict.fromkeys(each.metric_type.partition("/")[0] for each in results)),
        model_name=str(graph.nodes["model/name"].value),
        eval_results=results,
    )
    return f"---\n{data.to_yaml()}\n---\n\n"


def _results(evidence: Evidence, evaluation: Evaluation) -> list[EvalResult]:
    """An entry a metric that is defined, with its interval and what it rests on."""
    figures, run = Figures(evidence, evaluation), evaluation.run
    cohort = str(run.file.at("data", "name", default="cohort"))
    kind = str(evaluation.task.at("kind", default="other")) if evaluation.task else "other"
    whose = "held-out test" if held_out(evaluation) else "patients seen in training"
    entries = []
    for metric, path in metrics(evaluation.file.at("overall")).items():
        node = figures.figure(("overall", *path), ("model", "all", "all", "all", metric))
        if node.value is None:
            continue
        facts = {"low": node.low, "high": node.high, "interval": node.interval, "patients": node.n}
        facts["estimator"] = node.estimator
        entries.append(
            EvalResult(
                task_type=kind,
                task_name=task_name(evidence, evaluation).text,
                dataset_type=cohort,
                dataset_name=cohort + (" (synthetic)" if run.file.at("data", "synthetic") else ""),
                dataset_split="test" if held_out(evaluation) else "seen in training",
                metric_type=metric,
                metric_name=f"{metric_name(metric)}, {whose}",
                metric_value=node.value,
                metric_args={key: value for key, value in facts.items() if value not in (None, "")},
            )
        )
    return entries
